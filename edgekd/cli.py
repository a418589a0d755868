"""The command line: every command parses, calls one function and prints what it returned."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console

from edgekd.errors import EdgekdError

app = typer.Typer(
    help="Teach a small student, quantise it for its chip, and prove on that chip that what was trained is what was deployed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
INTERRUPTED, OUR_BUG = 130, 70

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Device = Annotated[str, typer.Option("--device", help="Where to run: local: (ssh:// and adb:// follow).")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    if debug:
        os.environ["EDGEKD_DEBUG"] = "1"


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a built-in name: quickstart, fashion-mnist.")],
    out: Annotated[Path | None, typer.Option(help="Run folder.  [default: runs/<recipe>]")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the recipe.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Repeat with this many seeds.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: delete what an earlier run left.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A skipped target is a failure.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, show the stages, run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """The whole road: teacher → student → int8 → bundles → proof → report. Resumes where it stopped."""
    from edgekd.recipe import load_recipe

    plan = load_recipe(recipe, [*(overrides or []), *([f"seeds={seeds}"] if seeds else [])])
    folder = out or Path("runs") / plan.name
    if dry_run:
        from edgekd.pipeline.check import describe

        return _print(describe(plan), as_json)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two spinning threads make training five times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from edgekd.pipeline.road import run_recipe

    outcome = run_recipe(plan, folder, _reporter(folder / "events.jsonl", as_json), fresh=fresh, strict=strict)
    if as_json:
        _print(outcome.run, as_json=True)
    else:
        from edgekd.reporting.tables import summary

        Console().print(summary(outcome.run))
        Console().print(f"report  {folder / 'report.html'}", highlight=False)
    outcome.raise_for_promises()


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.toml")) -> None:
    """Write a commented recipe for your own model and data."""
    from edgekd.pipeline.check import write_starter

    write_starter(path)
    Console().print(f"wrote {path}; next: edgekd run {path} --dry-run", highlight=False)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or a QDQ one of the target's scheme.")],
    target: Annotated[str, typer.Option(help="A target's name or file; see `edgekd targets`.")],
    calibration: Annotated[Path | None, typer.Option(help="npz of model inputs by name; float models need it.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that receives the bundle.")] = Path("bundles"),
    as_json: Json = False,
) -> None:
    """An ONNX model → a bundle whose outputs are proven on this machine where its runtime is installed."""
    from edgekd.pipeline.export import export_file

    _print(export_file(model, target, out, calibration), as_json)


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    device: Device = "local:",
    against: Annotated[Path | None, typer.Option(help="A second bundle, measured interleaved with the first.")] = None,
    batch: Annotated[int | None, typer.Option(min=1)] = None,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A runtime option.")] = None,
    replicates: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Shortest time per replicate.")] = 1.0,
    count: Annotated[int, typer.Option(min=1, help="Fewest inferences per replicate.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Append the rows to this results.jsonl.")] = None,
    as_json: Json = False,
) -> None:
    """Latency, throughput and memory of a bundle on a device, in fresh-process replicates."""
    from edgekd.pipeline.prove import bench_bundles

    rows = bench_bundles(
        [bundle, *([against] if against else [])], device, batch=batch, threads=threads, options=option or [],
        replicates=replicates, seconds=seconds, count=count, out=out, reporter=_reporter(None, as_json),
    )  # fmt: skip
    _print(rows, as_json)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    device: Device = "local:",
    data: Annotated[Path | None, typer.Option(help="npz with x and y (or x_test and y_test): task accuracy.")] = None,
    as_json: Json = False,
) -> None:
    """Golden parity and, with data, task accuracy on the device; exit 1 if a promise does not hold."""
    from edgekd.pipeline.prove import verify_bundle

    verdict = verify_bundle(bundle, device, data)
    _print(verdict, as_json)
    if not verdict["ok"]:
        raise typer.Exit(1)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="results.jsonl")],
    after: Annotated[Path, typer.Argument(help="results.jsonl")],
    threshold: Annotated[float, typer.Option(min=0.0, help="Smallest slowdown that counts, as a fraction.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Two result files, row by row; exit 1 on a regression."""
    from edgekd.measure.comparison import compare_files

    rows, regressed = compare_files(before, after, threshold)
    _print([row.model_dump(mode="json") for row in rows], as_json)
    if regressed:
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html for a run folder again."""
    from edgekd.pipeline.check import read_run
    from edgekd.reporting.html import write_report

    write_report(read_run(folder), folder)
    Console().print(f"report  {folder / 'report.html'}", highlight=False)


@app.command()
def targets(as_json: Json = False) -> None:
    """The chips and runtimes that edgekd knows."""
    from edgekd.target import builtin_targets, load_target

    rows = [load_target(name) for name in builtin_targets()]
    _print([{"target": t.name, "title": t.title, "backend": t.backend, "scheme": t.scheme} for t in rows], as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """The ways a teacher can teach."""
    from edgekd.pipeline.check import describe_methods

    _print(describe_methods(), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, what is missing, and the command that gets it."""
    from edgekd.pipeline.check import diagnose

    _print(diagnose(), as_json)


def _reporter(events: Path | None, quiet: bool) -> Any:
    from edgekd.progress import Reporter

    return Reporter(events, quiet=quiet)


def _print(document: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    from edgekd.reporting.tables import render

    Console().print(render(document))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; maps every outcome to an exit code and never shows a traceback without --debug."""
    sys.exit(_guarded(arguments))


def _guarded(arguments: Sequence[str] | None) -> int:
    try:
        result = app(args=arguments, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _complain("interrupted; the same command resumes", INTERRUPTED)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command resumes", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return 2
    except EdgekdError as error:
        return _complain(f"error: {error}", error.exit_code)
    except Exception as error:
        return _complain(f"internal error: {type(error).__name__}: {error} (--debug shows where)", OUR_BUG)


def _complain(message: str, code: int) -> int:
    if os.environ.get("EDGEKD_DEBUG") and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    Console(stderr=True, soft_wrap=True).print(message, style="red" if code != INTERRUPTED else "yellow", markup=False, highlight=False)
    return code


if __name__ == "__main__":
    main()
