"""Labels beside points, none upon another: each takes the first free place around its point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

NEAR, RING, RINGS = 8.0, 9.0, 9  # points from a marker's middle to the nearest labels, and from ring to ring of places
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
ACROSS, UP = {-1: "right", 0: "center", 1: "left"}, {-1: "top", 0: "center", 1: "bottom"}
MARKER, AIR = 6.0, 1.0  # points: half of what a marker takes, and what stays free around a label
Array = NDArray[Any]
Spot = tuple[int, int, float]
"""A direction across and up, and a distance in points."""
SPOTS: tuple[Spot, ...] = tuple((*way, NEAR + ring * RING) for ring in range(RINGS) for way in DIRECTIONS)


@dataclass(frozen=True)
class Label:
    """Words for a point in data coordinates; without words it is only in the way of others."""

    x: float
    y: float
    text: str = ""


def place(figure: Figure, axes: Axes, labels: Sequence[Label], colour: str) -> list[Annotation]:
    """Write labels into axes that are finished otherwise, off every point and off one another.

    Where all is full, a label goes where it covers least. One that is far from its point has a line to it.
    """
    figure.draw_without_rendering()  # only then it is known where things are
    pixels = figure.dpi / 72
    taken = [_around(axes.transData.transform((label.x, label.y)), MARKER * pixels) for label in labels]
    placed = []
    for label in filter(lambda label: label.text, labels):
        note = axes.annotate(label.text, (label.x, label.y), (0, 0), textcoords="offset points", color=colour)
        size = note.get_window_extent().padded(AIR)
        boxes = {spot: _box(axes.transData.transform(note.xy), spot, size, pixels) for spot in SPOTS}
        across, up, distance = spot = min(SPOTS, key=lambda spot: _covered(axes.bbox, boxes[spot], taken))
        note.set(position=(across * distance, up * distance), ha=ACROSS[across], va=UP[up])
        taken.append(boxes[spot])
        placed.append(note)
        if distance > NEAR:
            _tie(axes, note, colour)
    return placed


def _around(middle: Array, half: float) -> Bbox:
    return Bbox([[value - half for value in middle], [value + half for value in middle]])


def _box(point: Array, spot: Spot, size: Bbox, pixels: float) -> Bbox:
    """Where a label of this size ends up: `ACROSS` and `UP` in numbers."""
    across, up, distance = spot
    x, y = point[0] + across * distance * pixels, point[1] + up * distance * pixels
    left, bottom = x + (across - 1) * size.width / 2, y + (up - 1) * size.height / 2
    return Bbox.from_bounds(left, bottom, size.width, size.height)


def _covered(inside: Bbox, box: Bbox, taken: Sequence[Bbox]) -> float:
    """Area in square pixels that a label would hide, or lose beyond the axes."""
    common = [Bbox.intersection(box, other) for other in (inside, *taken)]
    seen, *hidden = (each.width * each.height if each else 0.0 for each in common)
    return float(box.width * box.height - seen + sum(hidden))


def _tie(axes: Axes, note: Annotation, colour: str) -> None:
    line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": MARKER}
    axes.annotate("", note.xy, note.get_position(), textcoords="offset points", arrowprops=line)
