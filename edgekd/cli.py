"""The command line: every command parses, calls one function and prints what it returned."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import edgekd
from edgekd.errors import FallbackError, MissingExtraError, NotProvenError
from edgekd.reporting import last_line
from edgekd.terminal import DEVICE_LOST, Commands, finite, note, say, show

app = typer.Typer(
    cls=Commands,
    help=edgekd.__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device", help="Where to run: local:, ssh://host, adb://serial or adb://host:port; again for more at once."
    ),
]
AnyRange = Annotated[
    bool, typer.Option("--any-range", help="Take data whose values reach elsewhere than what was trained.")
]
Fleet = Annotated[Path | None, typer.Option(help="A TOML file of devices, each with a uri and perhaps a host.")]


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    if debug:
        os.environ["EDGEKD_DEBUG"] = "1"


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a built-in name: quickstart, fashion-mnist.")],
    out: Annotated[Path | None, typer.Option(help="Run folder.  [default: runs/<recipe>]")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the recipe.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Repeat with this many seeds.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: delete what an earlier run left.")] = False,
    reuse: Annotated[list[str] | None, typer.Option(metavar="STAGE", help="Take its old result as it is.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A target that is not proven is a failure.")] = False,
    no_code: Annotated[bool, typer.Option("--no-code", help="Refuse a recipe that names a module:function.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, show the stages, run nothing.")] = False,
    any_range: AnyRange = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Draw curves in every training's folder.")] = False,
    as_json: Json = False,
) -> None:
    """the whole run: teacher → student → int8 → bundles → proof → report. Resumes where it stopped."""
    from edgekd.recipe import load_recipe

    plan = load_recipe(recipe, [*(overrides or []), *([f"seeds={seeds}"] if seeds else [])], code=not no_code)
    folder = out or Path("runs") / plan.name
    if dry_run:
        from edgekd.pipeline.plan import describe

        show(describe(plan), as_json)
        return
    if plan.code:
        note(f"this recipe calls {', '.join(plan.code)}")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two spinning threads make training five times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        from edgekd.pipeline.run import run_recipe
    except ModuleNotFoundError as error:
        raise MissingExtraError("train") from error

    reporter = _reporter(folder / "events.jsonl", as_json, tensorboard)
    outcome = run_recipe(plan, folder, reporter, fresh=fresh, strict=strict, reuse=reuse or (), any_range=any_range)
    if as_json:
        show(outcome.run, as_json=True)
    else:
        from edgekd.reporting.tables import summary

        show(outcome.run, False, summary, lambda run: last_line.of_run(run, folder / "report.html"))
    outcome.raise_for_promises()


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.toml")) -> None:
    """Write a commented recipe for your own model and data."""
    from edgekd.pipeline.plan import write_starter

    write_starter(path)
    say(f"wrote {path}; next: edgekd run {path} --dry-run")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or a QDQ one of the target's scheme.")],
    target: Annotated[str, typer.Option(help="A target's name or file; see `edgekd targets`.")],
    calibration: Annotated[Path | None, typer.Option(help="npz of model inputs by name; float models need it.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that receives the bundle.")] = Path("bundles"),
    shape: Annotated[
        list[str] | None, typer.Option(metavar="INPUT=1,3,…", help="Sizes for an input's free dimensions.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="INPUT=VALUE", help="Bake an input in, as in sr=16000.")
    ] = None,
    simplify: Annotated[bool, typer.Option(help="Let onnxslim simplify a float model.")] = True,
    ranges: Annotated[str | None, typer.Option(help="Of activations: minmax, ema, percentile or mse.")] = None,
    equalize: Annotated[
        bool | None, typer.Option("--equalize/--no-equalize", help="Even out channels between layers.")
    ] = None,
    correct_bias: Annotated[
        bool | None, typer.Option("--correct-bias/--no-correct-bias", help="Take the mean error of weights out.")
    ] = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Kept in float; or type:Softmax, between:a,b.")
    ] = None,
    refine: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="To look for tensors to keep in float if int8 is far from it."),
    ] = 60,
    layers: Annotated[bool, typer.Option("--layers", help="Show what each layer loses, the culprits first.")] = False,
    as_json: Json = False,
) -> None:
    """An ONNX model → a bundle whose outputs are proven on this machine; exit 4 where its runtime is not here."""
    from edgekd.onnx_import.inputs import parse_shapes
    from edgekd.onnx_import.settings import parse_settings
    from edgekd.pipeline.foreign import Wishes, export_file

    asked = {"ranges": ranges, "equalize": equalize, "correct_bias": correct_bias}
    wishes = Wishes(
        parse_shapes(shape or []), parse_settings(settings or []), simplify,
        {key: value for key, value in asked.items() if value is not None}, keep_float or (), refine,
    )  # fmt: skip
    report = export_file(model, target, out, calibration, wishes, layers=layers)
    show(report, as_json, last=last_line.of_export)
    if report["status"] == "fallback":
        raise FallbackError(f"{report['bundle']} is {report['precision']}, not int8: {report['reason']}")
    if report["status"] == "unverified":
        raise NotProvenError(f"{report['bundle']} is written, but {report['reason']}")


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    device: Devices = None,
    fleet: Fleet = None,
    against: Annotated[Path | None, typer.Option(help="A second bundle, measured interleaved with the first.")] = None,
    batch: Annotated[int | None, typer.Option(min=1)] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024)] = None,
    affinity: Annotated[
        str | None, typer.Option(metavar="CORES", help="Stay on these cores, such as 4-7 or 0,2.")
    ] = None,
    scenario: Annotated[
        Literal["single-stream", "offline"],
        typer.Option(help="One inference after the other, or the throughput of back-to-back batches on all cores."),
    ] = "single-stream",
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A runtime option.")] = None,
    replicates: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=86_400, callback=finite, help="Shortest time per replicate.")
    ] = 1.0,
    count: Annotated[int, typer.Option(min=1, help="Fewest inferences per replicate.")] = 50,
    strict: Annotated[bool, typer.Option(help="MLPerf Mobile's rules; exit 1 if one is not kept.")] = False,
    data: Annotated[Path | None, typer.Option(help="npz with x and y, as for verify: the task's metric, too.")] = None,
    any_range: AnyRange = False,
    out: Annotated[Path | None, typer.Option(help="Append the rows to this results.jsonl.")] = None,
    as_json: Json = False,
) -> None:
    """Latency, throughput, memory and, with data, the task's metric on a device, in fresh-process replicates."""
    from edgekd.pipeline.bench import bench_bundles
    from edgekd.pipeline.fleet import parse_devices
    from edgekd.reporting.benchmark import bench_table

    rows = bench_bundles(
        [bundle, *([against] if against else [])], parse_devices(device or (), fleet),
        batch=batch, threads=threads, affinity=affinity, scenario=scenario, options=option or [],
        replicates=replicates, seconds=seconds, count=count, by_mlperf=strict, data=data, any_range=any_range, out=out,
        reporter=_reporter(None, as_json),
    )  # fmt: skip
    show(rows, as_json, bench_table, last_line.of_bench)
    if any("error" in row for row in rows):
        raise typer.Exit(DEVICE_LOST)
    if any(row.get("strict", {}).get("broken") for row in rows):
        raise typer.Exit(1)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    device: Devices = None,
    fleet: Fleet = None,
    data: Annotated[
        Path | None, typer.Option(help="npz with x and y (or x_test and y_test): the task's metric.")
    ] = None,
    any_range: AnyRange = False,
    as_json: Json = False,
) -> None:
    """Golden parity and, with data, the task's metric on the device; exit 1 if parity fails, 4 if it proves nothing."""
    from edgekd.pipeline.fleet import parse_devices
    from edgekd.pipeline.verify import verify_on_each
    from edgekd.reporting.device import verify_view

    members = parse_devices(device or (), fleet)
    verdicts = verify_on_each(bundle, members, data, _reporter(None, as_json), any_range=any_range)
    show(verdicts if len(members) > 1 else verdicts[0], as_json, verify_view, last_line.of_verify)
    if any("error" in verdict for verdict in verdicts):
        raise typer.Exit(DEVICE_LOST)
    if any(not (verdict["ok"] or verdict["unproven"]) for verdict in verdicts):
        raise typer.Exit(1)
    for verdict in verdicts:
        if verdict["unproven"]:
            raise NotProvenError(verdict["unproven"])


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="results.jsonl")],
    after: Annotated[Path, typer.Argument(help="results.jsonl")],
    threshold: Annotated[
        float, typer.Option(min=0.0, callback=finite, help="Smallest slowdown that counts, as a fraction.")
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """Two result files, row by row; exit 1 on a regression."""
    from edgekd.measure.comparison import compare_files
    from edgekd.reporting.comparison import compare_table

    rows, regressed = compare_files(before, after, threshold)
    show(
        [row.model_dump(mode="json", exclude_defaults=not as_json) for row in rows],
        as_json,
        compare_table,
        last_line.of_compare,
    )
    if regressed:
        raise typer.Exit(1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html for a run folder again."""
    from edgekd.reporting.html import write_report

    write_report(folder)
    say(f"report  {folder / 'report.html'}")


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="One target in full: facts, how to prepare it, sources.")] = None,
    as_json: Json = False,
) -> None:
    """The chips and runtimes that edgekd knows."""
    from edgekd.target import described, listed

    if name:
        show(described(name), as_json)
    else:
        show(listed(), as_json, last=last_line.of_targets)


@app.command()
def methods(as_json: Json = False) -> None:
    """The ways a teacher can teach, with their parameters' defaults."""
    from edgekd.pipeline.methods import method_rows

    show(method_rows(), as_json, last=last_line.of_methods)


@app.command()
def devices(as_json: Json = False) -> None:
    """What `--device` could name here: this machine, what adb has attached, the hosts of your ssh_config."""
    from edgekd.devices import discover

    rows = [{"device": found.uri, "state": found.state, "what": found.what} for found in discover()]
    show(rows, as_json, last=last_line.of_devices)


@app.command()
def doctor(
    device: Annotated[str | None, typer.Option("--device", help="Examine this device instead of edgekd here.")] = None,
    target: Annotated[
        str | None, typer.Option(help="What the device has to run, and how to prepare it for that.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What is installed, what is missing, and the command that gets it; exit 1 if a device is not ready."""
    from edgekd.reporting.device import doctor_view

    if device is None and target is None:
        from edgekd.doctor import diagnose

        show(diagnose(), as_json, doctor_view, last_line.of_doctor)
        return
    from edgekd.measure.readiness import examine_device

    found = examine_device(device or "local:", target)
    show(found, as_json, doctor_view, last_line.of_doctor)
    if not found["ready"]:
        raise typer.Exit(1)


def _reporter(events: Path | None, quiet: bool, tensorboard: bool = False) -> Any:
    from edgekd.progress import Reporter

    return Reporter(events, quiet, tensorboard)


if __name__ == "__main__":
    app()
