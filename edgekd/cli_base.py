"""What the commands share: the application, options that several of them have, and how examples are shown."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import edgekd
from edgekd.terminal import Commands, say

FIRST_STEPS = ("edgekd doctor", "edgekd run quickstart", "edgekd init", "edgekd export --help")


def _examples(title: str, lines: Iterable[str]) -> str:
    return "\n\n".join([title, *(f"[dim]$[/dim] {escape(line)}" for line in lines)])


EXAMPLES: dict[str, tuple[str, ...]] = {}


class Documented(Commands):
    """Commands that tell programs about themselves: `--help` with `--json` prints a document."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse what stands before the command."""
        words = settings["args"] if "args" in settings else arguments[1]
        if {"--help", "--json"} <= set(words):
            from edgekd.help_document import command_line

            named = [word for word in words if word in self.commands]
            typer.echo(json.dumps(command_line(self, EXAMPLES, *named[:1]), indent=2))
            sys.exit()
        return super().make_context(*arguments, **settings)


app = typer.Typer(
    cls=Documented,
    help=edgekd.__doc__,
    epilog=_examples("First steps:", FIRST_STEPS),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

if TYPE_CHECKING:
    from edgekd.progress import Reporter

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="Where to run: local:, ssh://host, adb://serial, adb://host:port or web:; repeat it for several.",
    ),
]
Device = Annotated[str, typer.Option(help="Where to run: local:, ssh://host, adb://serial or adb://host:port.")]
AnyRange = Annotated[
    bool, typer.Option("--any-range", help="Accept data whose value range differs from the training data's.")
]
Metric = Annotated[
    str | None,
    typer.Option(metavar="NAME|MODULE:OBJECT", help="Another metric for --data: by name, or your own."),
]
LabelledData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="X.npz|FOLDER|RECIPE.toml",
        help="Compute the task's metric, too: of x (several inputs by their names) and y in an npz, of a folder of "
        "images for each class, or of a recipe's test split.",
    ),
]
Inputs = Annotated[Path | None, typer.Option(help="npz with a file's inputs by name.  \\[default: made up by shape]")]
Shape = Annotated[list[str] | None, typer.Option(metavar="INPUT=1,3,…", help="Fix the dynamic dimensions of an input.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Batch size.  \\[default: the target's]")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads.  \\[default: the target's]")]
RuntimeOptions = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the runtime, such as device=GPU.")
]
Provision = Annotated[
    bool,
    typer.Option("--provision", help="Install what the device's Python lacks, offline, from wheels fetched here."),
]
Fleet = Annotated[Path | None, typer.Option(help="A TOML file of devices, each with a uri and optionally a host.")]


def command(panel: str, *examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command below a heading of the help; its own help ends with the examples."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        EXAMPLES[function.__name__] = examples
        return app.command(rich_help_panel=panel, epilog=_examples("Examples:", examples))(function)

    return register


def reporter_for(events: Path | None, quiet: bool, tensorboard: bool = False) -> "Reporter":
    """Return what a command tells its progress to."""
    from edgekd.progress import Reporter

    return Reporter(events, quiet, tensorboard)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"edgekd {edgekd.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    if debug:
        os.environ["EDGEKD_DEBUG"] = "1"
