"""`card` and `replay`: a run's bundles as others get them, and whether what is said of them is true."""

from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli_base import Json, command, reporter_for
from edgekd.errors import NotProvenError, PromiseBrokenError
from edgekd.reporting import last_line
from edgekd.terminal import say, show

if TYPE_CHECKING:
    from edgekd.progress import Reporter
    from edgekd.reporting.run_record import RunRecord


@command("Publish", "edgekd card runs/quickstart --out card --license apache-2.0 --data-license MIT")
def card(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    license_name: Annotated[str, typer.Option("--license", help="Of the models, as an SPDX identifier.")],
    data_license: Annotated[str, typer.Option(help="Of the data that they were taught with.")],
    out: Annotated[Path, typer.Option(help="Folder for the card and what it tells of.")] = Path("card"),
    base_model: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="The teacher, on a model hub.")] = None,
    data: Annotated[Path | None, typer.Option(help="npz with x and y: publish it as the test data.")] = None,
) -> None:
    """Write a folder for a model hub: proven bundles, samples of every timing, and a model card."""
    from edgekd.pipeline.card import write_card
    from edgekd.reporting.card import Card

    found = Card(license=license_name, data_license=data_license, base_model=base_model)
    say(f"{write_card(run, out, found, data)}: next: edgekd replay {quote(str(out))}")


@command(
    "Publish",
    "edgekd replay card --data test.npz",
    "edgekd replay card --data test.npz --recipe quickstart",
)
def replay(
    folder: Annotated[Path, typer.Argument(help="A card's folder.")],
    data: Annotated[
        Path | None, typer.Option(help="npz with x and y: the test data.  \\[default: the card's own]")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="The recipe, to train teacher and students again.")] = None,
    as_json: Json = False,
) -> None:
    """Derive a card's numbers again; exit 1 if one is forged, 4 if one could not be derived."""
    from edgekd.pipeline.replay import replay as replayed
    from edgekd.reporting.comparison import claims_table

    reporter = reporter_for(None, as_json)
    again = _run_again(folder, recipe, reporter) if recipe else None
    claims = replayed(folder, data, again, reporter=reporter)
    show([claim.model_dump(mode="json") for claim in claims], as_json, claims_table, last_line.of_replay)
    for claim in claims:
        if claim.holds is False:
            raise PromiseBrokenError(
                f"{claim.what}: {claim.reason or f'it says {claim.said}, but {claim.found} is found'}"
            )
    for claim in claims:
        if claim.holds is None:
            raise NotProvenError(f"{claim.what} could not be derived: {claim.reason}")


def _run_again(card: Path, name: str, reporter: "Reporter") -> "RunRecord":
    from edgekd.pipeline.replay import require_recipe_of
    from edgekd.pipeline.run import run_recipe
    from edgekd.recipe import load_recipe

    recipe = load_recipe(name)
    require_recipe_of(card, recipe)
    with TemporaryDirectory() as folder:
        return run_recipe(recipe, Path(folder) / "run", reporter).run
