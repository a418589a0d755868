"""Size against latency, one point per executed variant."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from edgekd.measure.statistics import Median, perhaps_fastest
from edgekd.reporting.labels import Box, Label, place
from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.svg import (
    ACCENT,
    INK,
    MUTED,
    NARROW,
    PAPER,
    SHAPES,
    Axis,
    Drawing,
    Entry,
    Plot,
    legend,
    level,
    plot,
    upright,
)  # fmt: skip
from edgekd.reporting.verdict import SHIPPED
from edgekd.reporting.words import interval, latency, milliseconds, size

NAMED = 3  # of those that may be the fastest


class Point(NamedTuple):
    """One measured variant, with the interval over its replicates' medians."""

    target: str
    variant: str
    bytes: float
    median: Median

    @property
    def kilobytes(self) -> float:
        """Its size as it is drawn."""
        return self.bytes / 1000

    @property
    def span(self) -> tuple[float, ...]:
        """Ends of the interval, ms; none of one replicate."""
        return (self.median.low, self.median.high) if self.median.replicates > 1 else ()

    @property
    def time(self) -> str:
        """Its median and interval, for people."""
        ms, low, high, replicates, _ = self.median
        return f"{milliseconds(ms)} ({interval(low, high, replicates)})"

    def __str__(self) -> str:
        return f"{self.target} {self.variant}: {self.time}, {size(self.bytes)}"


def points(run: RunRecord) -> list[Point]:
    """Every proven variant that was timed: a broken one does not run what was taught."""
    found = []
    passed = {name: entry for name, entry in run.targets.items() if entry.status in SHIPPED}
    for target, entry in passed.items():
        for variant, row in entry.variants.items():
            time = latency(row)
            if time and row.bytes and not row.broken:
                found.append(Point(target, variant, row.bytes, time.median))
    return found


def best_of(measured: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in both size and latency (the Pareto front), the fastest first."""
    front: list[Point] = []
    for point in sorted(measured, key=lambda p: (p.median.ms, p.bytes)):
        if not front or point.bytes < front[-1].bytes:
            front.append(point)
    return front


def trade_off(run: RunRecord) -> Plot | None:
    """Latency with its interval across, size upwards; int8 is filled, a line joins what nothing else beats in both."""
    measured = points(run)
    return drawn(measured) if measured else None


def drawn(measured: list[Point]) -> Plot:
    """The plot of some points, at least one."""
    words = "; ".join(f"{p.target} {p.variant}: {milliseconds(p.median.ms)}, {size(p.bytes)}" for p in measured)
    extra = 19.0 * len({p.target for p in measured})
    return plot(
        lambda drawing, _: _paint(drawing, measured),
        (320.0, 290.0 + extra),
        f"Model size against median latency with its interval. {words}.",
        _takeaway(measured),
    )


def _takeaway(measured: list[Point]) -> str:
    best, *rivals = found = perhaps_fastest(measured, lambda p: p.median)
    if not rivals:
        return f"Fastest is {best.variant} on {best.target}: {best.time} in {size(best.bytes)}."
    told = [f"{p.variant} on {p.target}, {p.time} in {size(p.bytes)}" for p in found[:NAMED]]
    more = [f"{len(found) - NAMED} more"] if len(found) > NAMED else []
    return f"Fastest is one of these, which cannot be told apart: {'; '.join([*told, *more])}."


def _paint(drawing: Drawing, measured: list[Point]) -> None:
    """Draw the points; a legend names targets and int8, a label any other variant but float."""
    shapes = dict(zip(dict.fromkeys(p.target for p in measured), [*SHAPES] * len(measured), strict=False))
    top = legend(drawing, _entries(shapes)) + 8
    inside = Box(58, top, drawing.width - 8, drawing.height - 44)
    x = _axis([v for p in measured for v in (p.median.ms, *p.span)], inside.left, inside.right)
    y = _axis([p.kilobytes for p in measured], inside.bottom, inside.top)
    upright(drawing, x, x.ticks(4 if drawing.width == NARROW else 8), inside.top, inside.bottom)
    level(drawing, y, y.ticks(5), inside.left, inside.right)
    drawing.text((inside.left + inside.right) / 2, drawing.height - 10, "median latency, ms", MUTED, "middle")
    drawing.text(2, inside.top - 2, "kB", MUTED)
    drawing.line(*((x(p.median.ms), y(p.kilobytes)) for p in best_of(measured)), colour=MUTED, width=1, dash="3 3")
    for p in measured:
        drawing.link(anchor_of(p.target), str(p), partial(_point, p=p, x=x, y=y, shape=shapes[p.target]))
    for spot in place([label for p in measured for label in _labels(p, x, y)], inside):
        drawing.text(spot.x, spot.y, spot.label.text, MUTED, spot.anchor)
        if spot.far:
            drawing.line((spot.label.x, spot.label.y), spot.nearest, colour=MUTED, width=0.7)


def anchor_of(target: str) -> str:
    """The id of a target's rows in the page."""
    return "target-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in target)


def _entries(shapes: dict[str, str]) -> list[Entry]:
    def sign(shape: str, fill: str, colour: str) -> Callable[[Drawing, float, float], None]:
        return lambda drawing, x, y: drawing.marker(shape, x + 11, y, 5.5, fill, colour)

    named: list[Entry] = [(target, sign(shape, ACCENT, ACCENT)) for target, shape in shapes.items()]
    return [*named, ("hollow: not int8", sign("circle", PAPER, INK))]


def _labels(p: Point, x: Axis, y: Axis) -> tuple[Label, ...]:
    """The variant's name at its point; the ends of the interval are to stay free, too."""
    name = "" if p.variant in ("int8", "float") else p.variant
    texts = ((p.median.ms, name), *((end, "") for end in p.span))
    return tuple(Label(x(at), y(p.kilobytes), text) for at, text in texts)


def _point(drawing: Drawing, p: Point, x: Axis, y: Axis, shape: str) -> None:
    height = y(p.kilobytes)
    if p.span:
        drawing.line(*((x(end), height) for end in p.span))
    for end in p.span:
        drawing.line((x(end), height - 3), (x(end), height + 3))
    drawing.marker(shape, x(p.median.ms), height, 5.5, ACCENT if p.variant.startswith("int8") else PAPER)


def _axis(values: list[float], start: float, end: float) -> Axis:
    """From zero, or logarithmic where the values span more than a factor of eight."""
    if max(values) <= 8 * min(values):
        return Axis(0.0, 1.15 * max(values), start, end)
    return Axis(min(values) / 1.6, 1.6 * max(values), start, end, log=True)
