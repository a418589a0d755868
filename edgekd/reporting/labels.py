"""Labels beside points, none upon another: each takes the first free place around its point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgekd.reporting.svg import LETTER, Anchor, width_of

NEAR, RING, RINGS = 17.0, 12.0, 9  # pixels from a point to the nearest labels, and from one ring of places to the next
DIRECTIONS = ((0, -1), (0, 1), (1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1))
ACROSS: dict[int, Anchor] = {-1: "end", 0: "middle", 1: "start"}
MARKER, AIR = 8.0, 1.5  # pixels: half of what a marker takes, and what stays free around a label


class Box(NamedTuple):
    """A rectangle, from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Square pixels; 0 of one that is turned inside out."""
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)

    def common(self, other: "Box") -> "Box":
        """What two have in common."""
        return Box(
            max(self.left, other.left), max(self.top, other.top),
            min(self.right, other.right), min(self.bottom, other.bottom),
        )  # fmt: skip


@dataclass(frozen=True)
class Label:
    """Words for a point; without words it is only in the way of others."""

    x: float
    y: float
    text: str = ""


@dataclass(frozen=True)
class Placed:
    """Where a label's words are, by their anchor and the middle of their line; `far` from its point it needs a line."""

    label: Label
    x: float
    y: float
    anchor: Anchor
    box: Box
    far: bool

    @property
    def nearest(self) -> tuple[float, float]:
        """The place of its edge that is nearest to its point."""
        box, at = self.box, self.label
        return min(max(at.x, box.left), box.right), min(max(at.y, box.top), box.bottom)


def place(labels: Sequence[Label], inside: Box) -> list[Placed]:
    """Find a place for each label, off every point and off one another; where all is full, where it covers least."""
    taken = [Box(one.x - MARKER, one.y - MARKER, one.x + MARKER, one.y + MARKER) for one in labels]
    found = []
    for label in filter(lambda label: label.text, labels):
        spots = [_spot(label, way, NEAR + ring * RING) for ring in range(RINGS) for way in DIRECTIONS]
        best = min(spots, key=lambda spot: _covered(inside, spot.box, taken))
        taken.append(best.box)
        found.append(best)
    return found


def _spot(label: Label, way: tuple[int, int], distance: float) -> Placed:
    across, down = way
    x, y = label.x + across * distance, label.y + down * distance
    wide, high = width_of(label.text) + 2 * AIR, LETTER + 2 * AIR
    left = x + (across - 1) * wide / 2
    return Placed(label, x, y, ACROSS[across], Box(left, y - high / 2, left + wide, y + high / 2), distance > NEAR)


def _covered(inside: Box, box: Box, taken: Sequence[Box]) -> float:
    """Area in square pixels that a label would hide, or lose beyond the plot."""
    return box.area - box.common(inside).area + sum(box.common(other).area for other in taken)
