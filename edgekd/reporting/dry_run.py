"""What `edgekd run --dry-run` found, for the terminal."""

from collections.abc import Iterator, Mapping
from typing import NotRequired, TypedDict

from rich.console import Group, RenderableType
from rich.text import Text

from edgekd.reporting.layout import Facts, Grid
from edgekd.reporting.words import NONE, between


class Seconds(TypedDict):
    """What something takes, from the machine to itself to as busy as it is now."""

    low: float
    high: float


class StageRow(TypedDict):
    """A stage that a run would go through, and what it would take, where that is known."""

    stage: str
    what: str
    seconds: NotRequired[Seconds]


class DryRun(TypedDict):
    """What `run --dry-run` says, as JSON."""

    recipe: str
    faults: list[dict[str, str]]
    warnings: list[dict[str, str]]
    checked: list[dict[str, str]]
    stages: list[StageRow]
    seconds: Seconds | None


def dry_run_view(found: DryRun) -> Group:
    """The stages with their price, what was checked, doubts and, last, every fault."""
    return Group(*_parts(found))


def _parts(found: DryRun) -> Iterator[RenderableType]:
    if found["stages"]:
        rows = [(row["stage"], row["what"], _about(row.get("seconds"))) for row in found["stages"]]
        yield Grid.of(("stage", "what", "about"), rows, right=(2,))
        yield ""
    if found["checked"]:
        told = [(row["part"], row["found"]) for row in found["checked"] if row["found"] != "works"]
        works = ", ".join(row["part"] for row in found["checked"] if row["found"] == "works")
        yield Facts([*told, *([("works", works)] if works else [])])
    for kind, key, style, noted in (
        ("warnings", "warning", "yellow", found["warnings"]),
        ("faults", "fault", "red", found["faults"]),
    ):
        if noted:
            yield ""
            yield Text(kind, f"bold {style}")
            yield Facts([(row["part"], _told(row, key)) for row in noted])


def _told(row: Mapping[str, str], key: str) -> str:
    return f"{row[key]} · next: {row['next']}" if row.get("next") else row[key]


def _about(taken: Seconds | None) -> str:
    return NONE if taken is None else between(taken["low"], taken["high"])
