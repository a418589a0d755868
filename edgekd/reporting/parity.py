"""How far each backend's outputs are from the reference, in steps."""

import math
import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from edgekd.backends.parity import Parity
from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.svg import ACCENT, LETTER, LINE, MUTED, Axis, Drawing, Plot, level, plot
from edgekd.reporting.words import percent

_TITLE = 76  # characters of all titles side by side


class Row(NamedTuple):
    """A parity row with the name of its target."""

    target: str
    parity: Parity


def rows(run: RunRecord) -> list[Row]:
    """Every parity row."""
    return [Row(name, row) for name, target in run.targets.items() for row in target.parity]


def histogram(run: RunRecord) -> Plot | None:
    """Shares of outputs by their distance from the reference, a panel per target."""
    counts = _counts(run)
    if not counts:
        return None
    told = [f"{name}: {percent(_equal(steps))} equal, furthest {max(steps):g} steps" for name, steps in counts.items()]
    columns = len(counts) if len(counts) <= 4 else 3
    lines = math.ceil(len(counts) / columns)
    return plot(
        lambda drawing, narrow: _paint(drawing, counts, 1 if narrow else columns),
        (190.0 * lines + 26, 165.0 * len(counts) + 26),
        f"Share of outputs by distance from the reference. {'; '.join(told)}.",
        _takeaway(counts),
    )


def _counts(run: RunRecord) -> dict[str, Counter[float]]:
    found: dict[str, Counter[float]] = {}
    for row in rows(run):
        shape = row.parity.histogram
        for step, count in zip(shape.steps, shape.counts, strict=False) if shape else ():
            if count:
                found.setdefault(row.target, Counter())[step] += count
    return found


def _equal(steps: Counter[float]) -> float:
    return steps[0] / steps.total()


def _takeaway(counts: dict[str, Counter[float]]) -> str:
    total = sum(steps.total() for steps in counts.values())
    equal = sum(steps[0] for steps in counts.values())
    name, steps = max(counts.items(), key=lambda item: max(item[1]))
    if equal == total:
        return f"All {total:,} outputs equal the reference."
    unit = "step" if max(steps) == 1 else "steps"
    share = f"{percent(equal / total)} of {total:,} outputs equal the reference"
    return f"{share}; the furthest is {max(steps):g} {unit} away ({name})."


def _paint(drawing: Drawing, counts: dict[str, Counter[float]], columns: int) -> None:
    lines = math.ceil(len(counts) / columns)
    wide, high = drawing.width / columns, (drawing.height - 26) / lines
    for number, (name, steps) in enumerate(counts.items()):
        line, column = divmod(number, columns)
        titles = _broken(name, _TITLE // columns)
        for place, title in enumerate(titles):
            drawing.text(column * wide + 2, line * high + 8 + 15 * place, title, bold=True)
        top = line * high + 15 * len(titles) + 10
        _panel(drawing, steps, (column * wide + 46, top, (column + 1) * wide - 12, (line + 1) * high - 22))
    drawing.text(drawing.width / 2, drawing.height - 10, "steps from the reference", MUTED, "middle")


def _broken(name: str, width: int) -> list[str]:
    """A name in lines of at most `width` characters, where its hyphens allow that."""
    lines = [""]
    for part in re.findall(r"[^-]*-|[^-]+$", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return lines


def _panel(drawing: Drawing, steps: Counter[float], edges: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = edges
    places = sorted(steps)
    gap = min((b - a for a, b in pairwise(places)), default=1)
    x = Axis(places[0] - gap, max(places[-1], places[0] + 2 * gap) + gap, left, right)
    y = Axis(0, 118, bottom, top)
    level(drawing, y, (0, 50), left, right)
    drawing.text(left - 7, y(100), "100\u00a0%", MUTED, "end")
    drawing.line((left, y(100)), (right, y(100)), colour=LINE, width=0.8)
    few = len(places) <= 5
    for place in places:
        share = 100 * steps[place] / steps.total()
        wide = x(0.7 * gap) - x(0)
        drawing.bar(x(place) - wide / 2, y(0), wide, y(share) - y(0), ACCENT)
        if few:
            told = f"{share:.1f}" if share >= 0.1 else "<0.1"
            drawing.text(x(place), y(share) - LETTER / 2 - 3, told, anchor="middle")
    for tick in places if few else x.ticks(4, whole=True):
        drawing.text(x(tick), bottom + 13, f"{tick:g}", MUTED, "middle")
