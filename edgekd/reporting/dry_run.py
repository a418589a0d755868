"""What `edgekd run --dry-run` found, for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgekd.reporting.layout import Facts, Grid
from edgekd.reporting.words import NONE, between

Document = Mapping[str, Any]


def dry_run_view(found: Document) -> Group:
    """The stages with their price, what was checked, doubts and, last, every fault."""
    return Group(*_parts(found))


def _parts(found: Document) -> Iterator[RenderableType]:
    if found["stages"]:
        rows = [(row["stage"], row["what"], _about(row.get("seconds"))) for row in found["stages"]]
        yield Grid.of(("stage", "what", "about"), rows, right=(2,))
        yield ""
    if found["checked"]:
        told = [(row["part"], row["found"]) for row in found["checked"] if row["found"] != "works"]
        works = ", ".join(row["part"] for row in found["checked"] if row["found"] == "works")
        yield Facts([*told, *([("works", works)] if works else [])])
    for kind, key, style in (("warnings", "warning", "yellow"), ("faults", "fault", "red")):
        if found[kind]:
            yield ""
            yield Text(kind, f"bold {style}")
            yield Facts([(row["part"], _told(row, key)) for row in found[kind]])


def _told(row: Document, key: str) -> str:
    return f"{row[key]} · next: {row['next']}" if row.get("next") else str(row[key])


def _about(taken: Mapping[str, float] | None) -> str:
    return NONE if taken is None else between(taken["low"], taken["high"])
