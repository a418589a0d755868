"""The table of a network's layers: what each loses in int8, and what it takes where that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.sortable import Column, Filter, Order, Part, Table, largest_first, smallest_first, sortable
from edgekd.reporting.words import NONE

BAR = 8  # characters of the longest
Document = Mapping[str, Any]


def bar(value: float, longest: float) -> str:
    """Return a bar as long as a value is beside the largest one."""
    return "█" * round(BAR * max(value, 0.0) / (longest or 1.0))


def decibels(value: float | None) -> str:
    """Return a distance in words."""
    return NONE if value is None else f"{round(value, 1) + 0.0:.1f}\u00a0dB"  # never minus zero


def losses_tables(reports: Sequence[Document]) -> list[Part]:
    """Return the same for a page, where it can be sorted; by the network's order where a report has its graph."""
    told = [report for report in reports if isinstance(report.get("layers"), list)]
    return [
        Part(report["target"] if len(told) > 1 else "", _losses(f"losses-{number}", report))
        for number, report in enumerate(told)
    ]


def _losses(name: str, report: Document) -> Table:
    places = {(node["layer"], node["kind"]): place for place, node in enumerate(report.get("graph") or ())}
    orders: list[Order[Document]] = [
        largest_first("loss", lambda row: row["lost_db"], "lost here"),
        smallest_first("signal to noise", lambda row: row["sqnr_db"], "from float"),
    ]
    if places:
        orders.append(smallest_first("place in the network", lambda row: places.get((row["layer"], row["kind"]))))
    columns = [
        Column[Document]("layer", lambda row: row["layer"]), Column[Document]("kind", lambda row: row["kind"]),
        Column[Document]("from float", lambda row: decibels(row["sqnr_db"])),
        Column[Document]("lost here", lambda row: decibels(row["lost_db"])),
    ]  # fmt: skip
    return sortable(name, report["layers"], columns, orders, [Filter("kind", lambda row: row["kind"])])


def losses_view(reports: Sequence[Document]) -> Grid:
    """Return a row per layer that quantising costs something, the worst first, by target."""
    told = [report for report in reports if isinstance(report.get("layers"), list)]
    sections = [Section(report["target"] if len(told) > 1 else None, _rows(report["layers"])) for report in told]
    return Grid(("layer", "kind", "from float", "lost here", ""), sections, (2, 3))


def _rows(layers: Sequence[Document]) -> list[Sequence[Cell]]:
    most = max((layer["lost_db"] for layer in layers), default=0.0)
    return [
        (
            layer["layer"], layer["kind"], decibels(layer["sqnr_db"]), decibels(layer["lost_db"]),
            bar(layer["lost_db"], most),
        )
        for layer in layers
    ]  # fmt: skip
