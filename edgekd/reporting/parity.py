"""How far each backend's outputs are from the reference, in steps."""

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgekd.reporting.svg import ACCENT, INK, MUTED, Plot, bare, plot
from edgekd.reporting.words import Run, percent

_TITLE = 76  # characters of all titles side by side
_BLANK = dict.fromkeys(("output", "batch", "n", "max", "p999", "exact", "agreement"))


def rows(run: Run) -> list[dict[str, Any]]:
    """Every parity row, with the name of its target."""
    targets = (run.get("targets") or {}).items()
    return [_BLANK | {"target": name} | row for name, target in targets for row in target.get("parity") or []]


def histogram(run: Run) -> Plot | None:
    """Shares of outputs by their distance from the reference, a panel per target."""
    counts = _counts(run)
    if not counts:
        return None
    told = [f"{name}: {percent(_equal(steps))} equal, furthest {max(steps):g} steps" for name, steps in counts.items()]
    columns = len(counts) if len(counts) <= 4 else 3
    lines = math.ceil(len(counts) / columns)
    return plot(
        "parity",
        lambda figure, narrow: _paint(figure, counts, 1 if narrow else columns),
        (0.3 + 2.0 * lines, 0.3 + 1.45 * len(counts)),
        f"Share of outputs by distance from the reference. {'; '.join(told)}.",
        _takeaway(counts),
    )


def _counts(run: Run) -> dict[str, Counter[float]]:
    found: dict[str, Counter[float]] = {}
    for row in rows(run):
        shape = row.get("histogram") or {}
        for step, count in zip(shape.get("steps", ()), shape.get("counts", ()), strict=False):
            if count:
                found.setdefault(row["target"], Counter())[step] += count
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


def _paint(figure: Figure, counts: dict[str, Counter[float]], columns: int) -> None:
    lines = math.ceil(len(counts) / columns)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, steps) in zip(panels, counts.items(), strict=False):
        _panel(axes, steps)
        axes.set_title(_broken(name, _TITLE // columns))
    for axes in panels[len(counts) :]:
        axes.set_visible(False)
    figure.supxlabel("steps from the reference", color=MUTED, fontsize=9.5)


def _broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, where its hyphens allow that."""
    lines = [""]
    for part in re.findall(r"[^-]*-|[^-]+$", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _panel(axes: Axes, steps: Counter[float]) -> None:
    places = sorted(steps)
    shares = [100 * steps[place] / steps.total() for place in places]
    gap = min((b - a for a, b in pairwise(places)), default=1)
    bars = axes.bar(places, shares, width=0.7 * gap, color=ACCENT)
    axes.set_xlim(places[0] - gap, max(places[-1], places[0] + 2 * gap) + gap)
    axes.set_ylim(0, 118)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(places) <= 5:
        axes.bar_label(bars, [f"{share:.1f}" if share >= 0.1 else "<0.1" for share in shares], color=INK, padding=2)
        axes.set_xticks(places)
    bare(axes, "y")
    axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
