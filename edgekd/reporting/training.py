"""Training curves, from the `history.json` that each stage leaves in the run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError
from edgekd.reading import read_json
from edgekd.reporting.svg import (
    ACCENT,
    INK,
    MUTED,
    Axis,
    Drawing,
    Entry,
    Plot,
    legend,
    level,
    plot,
    width_of,
)  # fmt: skip
from edgekd.reporting.words import Run, listed, metric_name, scale_of, worth

History = list[dict[str, Any]]

_LABELS = {"teacher": "Teacher", "scratch": "Scratch student", "student": "Distilled student"}
_SPOKEN = {"teacher": "the teacher", "scratch": "the scratch student", "student": "the distilled student"}
_LINES = {"teacher": (INK, ""), "scratch": (MUTED, "6 4"), "student": (ACCENT, "")}
_FINE_TUNING = ("1 4", "7 3 1 3")


def histories(folder: Path) -> dict[str, History]:
    """Epoch records by stage, in the order of teaching; a file that is absent or unreadable is left out."""
    stages = [*_LABELS, *sorted(f"qat/{path.name}" for path in folder.glob("qat/*"))]
    found = {stage: _read(folder / stage / "history.json") for stage in stages}
    return {stage: history for stage, history in found.items() if history}


def curves(run: Run, folder: Path) -> Plot | None:
    """Validation metric and training loss by epoch."""
    stages = histories(folder)
    if not stages:
        return None
    metric = metric_name(run)
    ends = [f"{_label(stage)} {worth(run, history[-1].get('val'))}" for stage, history in stages.items()]
    return plot(
        lambda drawing, narrow: _paint(drawing, stages, run, narrow),
        (300.0, 510.0 + 19 * (len(stages) // 2)),
        f"Validation {metric} and training loss by epoch. At the end: {'; '.join(ends)}.",
        _takeaway(stages, run),
    )


def _read(path: Path) -> History:
    try:
        history = read_json(path)
    except BadInputError:
        return []
    return [row for row in history if isinstance(row, dict) and "epoch" in row] if isinstance(history, list) else []


def _label(stage: str) -> str:
    return _LABELS.get(stage, stage.removeprefix("qat/"))


def _takeaway(stages: dict[str, History], run: Run) -> str:
    ends = {stage: history[-1].get("val") for stage, history in stages.items() if stage in _SPOKEN}
    told = [f"{_SPOKEN[stage]} at {worth(run, value)}" for stage, value in ends.items() if value is not None]
    return f"Training ends with {listed(told)} on validation data." if told else "Loss by epoch."


@dataclass(frozen=True)
class _Curve:
    """One stage's line in one of the two panels."""

    points: list[tuple[float, float]]
    colour: str
    dash: str


def _paint(drawing: Drawing, stages: dict[str, History], run: Run, narrow: bool) -> None:
    scale, fine = scale_of(run), iter(_FINE_TUNING * len(stages))
    styles = {stage: _LINES.get(stage) or (ACCENT, next(fine)) for stage in stages}
    top = legend(drawing, [_entry(stage, *style) for stage, style in styles.items()]) + 6
    titles = (f"validation {metric_name(run)}, {scale.unit}".rstrip(", "), "training loss")
    for place, (title, key, unit) in enumerate(zip(titles, ("val", "loss"), (scale.factor, 1), strict=True)):
        found = [
            _Curve([(row["epoch"], unit * row[key]) for row in rows if row.get(key) is not None], *styles[stage])
            for stage, rows in stages.items()
        ]
        high, wide = (drawing.height - top) / (2 if narrow else 1), drawing.width / (1 if narrow else 2)
        left, above = (0.0, top + place * high) if narrow else (place * wide, top)
        _panel(
            drawing, title, [curve for curve in found if curve.points], (left, above, left + wide - 12, above + high)
        )


def _entry(stage: str, colour: str, dash: str) -> Entry:
    return _label(stage), lambda drawing, x, y: drawing.line((x, y), (x + 22, y), colour=colour, width=2.2, dash=dash)


def _panel(drawing: Drawing, title: str, curves: list[_Curve], edges: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = edges
    drawing.text(left + 2, top + 8, title, bold=True)
    if not curves:
        return
    epochs, values = zip(*(point for curve in curves for point in curve.points), strict=True)
    air = 0.06 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1.0
    y = Axis(min(values) - air, max(values) + air, bottom - 40, top + 24)
    inside = left + max(width_of(f"{tick:g}") for tick in y.ticks(5)) + 12
    x = Axis(min(epochs), max(max(epochs), min(epochs) + 1), inside + 6, right - 6)
    level(drawing, y, y.ticks(5), inside, right)
    for tick in x.ticks(6, whole=True):
        drawing.text(x(tick), bottom - 26, f"{tick:g}", MUTED, "middle")
    drawing.text((inside + right) / 2, bottom - 8, "epoch", MUTED, "middle")
    for curve in curves:
        places = [(x(epoch), y(value)) for epoch, value in curve.points]
        drawing.line(*places, colour=curve.colour, width=2.2, dash=curve.dash)
        if len(places) < 3:
            for place in places:
                drawing.marker("circle", *place, 2.4, curve.colour, curve.colour)
