"""`run`, `init`, `report`: from a recipe to a report."""

import os
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, TypedDict

import typer

from edgekd.cli_base import AnyRange, Json, command, reporter_for
from edgekd.reporting import last_line
from edgekd.terminal import BAD_INPUT, note, say, show


@command(
    "Train and distil",
    "edgekd run quickstart",
    "edgekd run recipe.toml --dry-run",
    "edgekd run recipe.toml --seeds 3 --set student.training.epochs=60",
)
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a built-in name; see `edgekd recipes`.")],
    out: Annotated[Path | None, typer.Option(help="Run folder.  \\[default: runs/RECIPE]")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the recipe.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Repeat with this many seeds.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: delete what an earlier run left.")] = False,
    reuse: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Keep this stage's old result although its inputs changed."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a target was not proven.")] = False,
    no_code: Annotated[bool, typer.Option("--no-code", help="Refuse a recipe that names a module:function.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything in under a minute, list all faults, show the stages and what they cost."
        ),
    ] = False,
    any_range: AnyRange = False,
    skip_broken: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Leave out up to N samples that cannot be read.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard curves of every training.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: train, distil, quantise, compile, verify, measure, report. Resumes where it stopped."""
    from edgekd.recipe import load_recipe

    settings = [*(overrides or []), *([f"seeds={seeds}"] if seeds else [])]
    settings += [] if skip_broken is None else [f"data.skip_broken={skip_broken}"]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two spinning threads make training five times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if dry_run:
        asked = Asked(code=not no_code, any_range=any_range, fresh=fresh, reuse=reuse or [])
        _dry_run(recipe, settings, out or Path("runs") / Path(recipe).stem, asked, as_json)
        return
    plan = load_recipe(recipe, settings, code=not no_code)
    folder = out or Path("runs") / plan.name
    if plan.code:
        note(f"this recipe calls {', '.join(plan.code)}")
    from edgekd.pipeline.run import run_recipe

    reporter = reporter_for(folder / "events.jsonl", as_json, tensorboard)
    outcome = run_recipe(plan, folder, reporter, fresh=fresh, strict=strict, reuse=reuse or (), any_range=any_range)
    if as_json:
        show(outcome.run.document(), as_json=True)
    else:
        from edgekd.reporting.tables import summary

        show(outcome.run, False, summary, lambda run: last_line.of_run(run, folder / "report.html"))
    outcome.raise_for_promises()


class Asked(TypedDict):
    """What a run is asked for, besides its recipe."""

    code: bool
    any_range: bool
    fresh: bool
    reuse: list[str]


def _dry_run(recipe: str, settings: list[str], folder: Path, asked: Asked, as_json: bool) -> None:
    from edgekd.pipeline.dry_run import dry_run
    from edgekd.reporting.dry_run import dry_run_view

    found = dry_run(recipe, settings, folder, **asked)
    show(found, as_json, dry_run_view, last_line.of_dry_run)
    if found["faults"]:
        raise typer.Exit(BAD_INPUT)


@command(
    "Train and distil",
    "edgekd init",
    "edgekd init project/recipe.toml --task signals --target tflm-cortex-m",
    "edgekd init --model resnet --data photographs/ --target pixel-9 --target x86-tflite",
)
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.toml"),
    task: Annotated[str | None, typer.Option(help="What the data are, such as images.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The teacher: module:function, a built-in network such as resnet, or timm:NAME.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="An .npz, a folder of images, a built-in data set, or module:function.")
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="Where it will run; repeat it for several.")] = None,
) -> None:
    """Write a commented recipe for your own model and data, and a module to put them in; asks where it can."""
    from edgekd.pipeline.starter import TARGET, Wishes, tasks, write_starter

    if sys.stdin.isatty():
        task = task or typer.prompt(f"What are the data? {', '.join(tasks())}", default="images")
        data = data or _asked("Where are they? an .npz, a folder, module:function")
        model = model or _asked("The teacher? module:function, a built-in network, timm:NAME")
        target = target or typer.prompt("Where will it run? names from `edgekd targets`", default=TARGET).split()
    wishes = Wishes(task or "images", model or None, data or None, tuple(target or [TARGET]))
    written = write_starter(path, wishes)
    say(f"wrote {' and '.join(map(str, written))}; next: edgekd run {quote(str(path))} --dry-run")


def _asked(question: str) -> str:
    """Return an answer; an empty one leaves the starter's example."""
    return str(typer.prompt(f"{question} (empty: an example)", default="", show_default=False))


@command(
    "Train and distil",
    "edgekd report runs/quickstart --tables tables",
    "edgekd report runs/kd --compare runs/dkd --compare runs/hint --out methods.html",
)
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another run: write one page that compares them; repeat it for several.")
    ] = None,
    out: Annotated[Path, typer.Option(help="That page.")] = Path("comparison.html"),
    tables: Annotated[
        Path | None, typer.Option(help="Write the report's tables into this folder, as CSV and Markdown.")
    ] = None,
) -> None:
    """Write the report of a finished run again, or one page for several runs."""
    from edgekd.reporting.export_tables import write_tables
    from edgekd.reporting.html import write_report
    from edgekd.reporting.runs import write_comparison

    if compare:
        say(f"comparison: {write_comparison([folder, *compare], out)}")
    else:
        say(f"report: {write_report(folder)}")
    if tables is not None:
        say(f"tables: {', '.join(map(str, write_tables(folder, tables)))}")
