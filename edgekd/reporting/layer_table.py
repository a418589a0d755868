"""The table of a network's layers: what each loses in int8, and what it takes where that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.words import NONE

BAR = 8  # characters of the longest
Document = Mapping[str, Any]


def bar(value: float, longest: float) -> str:
    """Return a bar as long as a value is beside the largest one."""
    return "█" * round(BAR * max(value, 0.0) / (longest or 1.0))


def decibels(value: float | None) -> str:
    """Return a distance in words."""
    return NONE if value is None else f"{value:.1f}\u00a0dB"


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
