"""Training curves, from the `history.json` that each stage leaves in the run folder."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd.errors import BadInputError
from edgekd.reading import read_json
from edgekd.reporting.run_record import RunRecord
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
from edgekd.reporting.words import listed, metric_name, scale_of, worth


class Epoch(BaseModel):
    """What a curve shows of an epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: float
    val: float | None = None
    loss: float | None = None


History = list[Epoch]

_LABELS = {"teacher": "Teacher", "scratch": "Scratch student", "student": "Distilled student"}
_SPOKEN = {"teacher": "the teacher", "scratch": "the scratch student", "student": "the distilled student"}
_LINES = {"teacher": (INK, ""), "scratch": (MUTED, "6 4"), "student": (ACCENT, "")}
_FINE_TUNING = ("1 4", "7 3 1 3")


def histories(folder: Path) -> dict[str, History]:
    """Epoch records by stage, in the order of teaching; a file that is absent or unreadable is left out."""
    stages = [*_LABELS, *sorted(f"qat/{path.name}" for path in folder.glob("qat/*"))]
    found = {stage: _read(folder / stage / "history.json") for stage in stages}
    return {stage: history for stage, history in found.items() if history}


def curves(run: RunRecord, folder: Path) -> Plot | None:
    """Validation metric and training loss by epoch."""
    stages = histories(folder)
    if not stages:
        return None
    metric = metric_name(run)
    ends = [f"{_label(stage)} {worth(run, history[-1].val)}" for stage, history in stages.items()]
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
    return list(_epochs(history)) if isinstance(history, list) else []


def _epochs(rows: list[object]) -> Iterator[Epoch]:
    for row in rows:
        with suppress(ValidationError):
            yield Epoch.model_validate(row)


def _label(stage: str) -> str:
    return _LABELS.get(stage, stage.removeprefix("qat/"))


def _takeaway(stages: dict[str, History], run: RunRecord) -> str:
    ends = {stage: history[-1].val for stage, history in stages.items() if stage in _SPOKEN}
    told = [f"{_SPOKEN[stage]} at {worth(run, value)}" for stage, value in ends.items() if value is not None]
    return f"Training ends with {listed(told)} on validation data." if told else "Loss by epoch."


@dataclass(frozen=True)
class _Curve:
    """One stage's line in one of the two panels."""

    points: list[tuple[float, float]]
    colour: str
    dash: str


def _paint(drawing: Drawing, stages: dict[str, History], run: RunRecord, narrow: bool) -> None:
    scale, fine = scale_of(run), iter(_FINE_TUNING * len(stages))
    styles = {stage: _LINES.get(stage) or (ACCENT, next(fine)) for stage in stages}
    top = legend(drawing, [_entry(stage, *style) for stage, style in styles.items()]) + 6
    titles = (f"validation {metric_name(run)}, {scale.unit}".rstrip(", "), "training loss")
    values: tuple[Callable[[Epoch], float | None], ...] = (
        lambda row: None if row.val is None else scale.factor * row.val,
        lambda row: row.loss,
    )
    for place, (title, value) in enumerate(zip(titles, values, strict=True)):
        found = [
            _Curve([(row.epoch, y) for row in rows if (y := value(row)) is not None], *styles[stage])
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
