"""Detection: boxes and their classes; outputs are centre heads (N, C + 4, H, W), labels boxes (N, M, 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, ap, ap50
from edgekd.schema import Share
from edgekd.tasks import _centers as centers
from edgekd.tasks._base import Array, Move, Shape, Task, refuse, require_no_gap
from edgekd.tasks._centers import EDGES, UNUSED
from edgekd.tasks._draw import with_boxes

if TYPE_CHECKING:
    from torch import Tensor

WANTED = "boxes (N, M, 5): x1, y1, x2, y2 in pixels and the class, which is -1 in unused rows"
SLACK = 1e-3  # pixels that a box may reach out of its image by rounding


@dataclass(frozen=True)
class Detection(Task):
    """Boxes by a heat map of their centres for each class, their sizes and the centres' place in a cell.

    CenterNet (Zhou et al., arXiv:1904.07850). A cell is `stride` pixels wide; of an image the `top_k` surest boxes
    count, in `agreement` those with a score of at least `sure`. Another head is a subclass with its `loss`, `boxes`,
    `fits`, `constant` and `width`.
    """

    stride: PositiveInt = 8
    top_k: PositiveInt = 100
    sure: Share = 0.3
    size_weight: PositiveFloat = 0.1
    metric_name: Literal["ap", "ap50", "ap30"] = "ap50"
    outputs: ClassVar[str] = "a centre head is (N, classes + 4, H, W), with labels (N, M, 5)"
    method: ClassVar[str] = "heat-map"

    @property
    def metrics(self) -> Sequence[Metric]:
        """AP, AP50 and AP30; the one asked for comes first."""
        found = [self.scored_by(metric) for metric in (ap.metric(), ap50.metric(), ap50.metric(0.3))]
        return sorted(found, key=lambda metric: metric.name != self.metric_name)

    def scored_by(self, metric: Metric) -> Metric:
        """Return a metric of boxes (N, K, 6) as one of outputs."""
        return replace(metric, count=lambda outputs, labels: metric.counted(self.boxes(outputs), labels), takes=None)

    def boxes(self, outputs: Array) -> Array:
        """Return boxes (N, K, 6), x1, y1, x2, y2 in pixels, score and class, the surest first; class -1 is none."""
        return centers.decoded(outputs, self.stride, self.top_k)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N, M, 5) as float32, with zeros for the boxes of unused rows."""
        if labels.ndim != 3 or labels.shape[2] != 5 or labels.dtype.kind not in "iuf":
            raise refuse(where, WANTED, labels)
        used, numbers = labels[..., 4] != UNUSED, labels[..., 4]
        classes = None if width is None else width - EDGES
        _refuse_any(used & ~np.isfinite(labels).all(axis=2), labels, where, "its numbers are not finite")
        known = "class indices start at 0" if classes is None else f"there are the classes 0 to {classes - 1}"
        wrong = (numbers < 0) | (numbers % 1 != 0) | (numbers >= (np.inf if classes is None else classes))
        _refuse_any(used & wrong, labels, where, known)
        empty = (labels[..., 2:4] <= labels[..., :2]).any(axis=2)
        _refuse_any(used & empty, labels, where, "x2 > x1 and y2 > y1 must hold")
        _refuse_any(used & (labels[..., :2] < -SLACK).any(axis=2), labels, where, "it begins outside the image")
        kept: Array = np.where(used[..., None], labels, [0, 0, 0, 0, UNUSED]).astype(np.float32)
        return kept

    def stack(self, labels: Sequence[Array]) -> Array | None:
        """Return the boxes (m, 5) of each sample as labels (N, M, 5)."""
        return padded(labels) if all(boxes.ndim == 2 and boxes.shape[1] == 5 for boxes in labels) else None

    def check_inputs(self, labels: Array, sample: Shape, where: str) -> None:
        """Raise BadInputError, naming the sample, where a box is not inside the images (C, H, W)."""
        if len(sample) != 3:
            raise BadInputError(f"{where} holds boxes, but samples are {tuple(sample)}, not images (channels, H, W)")
        height, width = sample[1:]
        size = np.array([np.inf if side is None else side for side in (width, height)])
        outside = (labels[..., 2:4] > size + SLACK).any(axis=2) & (labels[..., 4] != UNUSED)
        _refuse_any(outside, labels, where, f"it ends outside the image of {width}×{height}")

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether each cell has a class, two sizes and two offsets."""
        if len(outputs) != 4 or labels.ndim != 3 or labels.shape[2] != 5:
            return False
        return outputs[0] == len(labels) and (outputs[1] is None or outputs[1] > EDGES)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the focal loss of the heat map, and mean absolute errors of sizes and offsets at true centres."""
        from edgekd.tasks._centers_loss import center_terms

        heat, size, offset = center_terms(outputs, labels, self.stride)
        return {"heat": heat, "size": self.size_weight * size, "offset": offset}

    def moved(self, labels: Array, move: Move) -> Array:
        """Return the boxes moved as the images are, cut at their edges; without those whose centre is outside."""
        corners = move.points(labels[..., :4].reshape(len(labels), -1, 2)).reshape(*labels.shape[:2], 2, 2)
        low, high = corners.min(axis=2), corners.max(axis=2)
        size = np.array(move.size[::-1])
        inside = ((low + high > 0) & (low + high < 2 * size)).all(axis=2) & (labels[..., 4] != UNUSED)
        boxes = np.concatenate([low.clip(0, size), high.clip(0, size), labels[..., 4:]], axis=2)
        return np.where(inside[..., None], boxes, [0, 0, 0, 0, UNUSED]).astype(labels.dtype)

    def decide(self, outputs: Array) -> Array:
        """Return the boxes that are sure enough, as labels (N, K, 5)."""
        boxes = self.boxes(outputs)
        labels = np.delete(boxes, 4, axis=2)
        labels[..., 4][boxes[..., 4] < self.sure] = UNUSED
        return labels

    def draw(self, image: Array, labels: Array) -> Array:
        """Return the image with the boxes (M, 5)."""
        return with_boxes(image, labels)

    def constant(self, labels: Array) -> Array:
        """Return how often a centre is in each cell, with the mean box there."""
        return centers.usual(labels, self.stride)

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return the classes' names or, where they have no gaps, their numbers; one may be all."""
        if given is not None:
            return tuple(given)
        found = np.unique(labels[..., 4][labels[..., 4] != UNUSED]).astype(np.int64)
        if not len(found):
            raise BadInputError(f"{source}: y_train holds no box; there is nothing to find")
        return require_no_gap(found, "box", source)

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return a value for each class, and four for the box."""
        return len(names) + EDGES

    def doubt(self, labels: Array, names: Sequence[str]) -> str | None:
        """Return whether boxes seem to be shares of the image, or some class has none."""
        if labels[..., :4].max(initial=0) <= 1:
            return "all boxes are within one pixel of the corner: x1, y1, x2, y2 are pixels"
        taught = set(labels[..., 4].ravel().astype(int).tolist())
        untaught = [name for number, name in enumerate(names) if number not in taught]
        return f"no training image has a box of {', '.join(map(repr, untaught[:5]))}" if untaught else None

    def unscorable(self, labels: Array) -> str | None:
        """Return whether there is no box."""
        return "there is no box to be found" if (labels[..., 4] == UNUSED).all() else None


def padded(samples: Sequence[Array]) -> Array:
    """Return the boxes (m, 5) of each sample as labels (N, M, 5), with unused rows at the end."""
    labels = np.zeros((len(samples), max(map(len, samples), default=0), 5), np.float32)
    labels[..., 4] = UNUSED
    for row, boxes in zip(labels, samples, strict=True):
        row[: len(boxes)] = np.reshape(boxes, (-1, 5))
    return labels


def _refuse_any(wrong: Array, labels: Array, where: str, why: str) -> None:
    """Raise BadInputError about the first of the boxes (N, M) that are wrong."""
    if wrong.any():
        sample, row = (int(place) for place in np.argwhere(wrong)[0])
        box = labels[sample, row].tolist()
        corners = ", ".join(f"{edge:g}" for edge in box[:4])
        raise BadInputError(f"{where} holds in sample {sample} the box ({corners}) of class {box[4]:g}: {why}")
