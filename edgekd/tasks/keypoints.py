"""Keypoints: where K points are; outputs are (N, K, 2) or (N, 2K), x and y, labels (N, K, 2) or (N, K, 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, oks, pck
from edgekd.tasks._base import Array, Move, Shape, Task, require_finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Keypoints(Task):
    """K points a sample, by their absolute error; a label's third value says whether the point is visible.

    `size` is an object's size in the labels' unit, by default that of the box around its points; `threshold` is PCK's
    share of it, `sigma` OKS's. `pairs` are the points that change places in a mirror, such as the left and the right
    eye, by their numbers from 0; without them, be they none, images are not mirrored.
    """

    threshold: PositiveFloat = 0.1
    sigma: PositiveFloat = 0.05
    size: PositiveFloat | None = None
    pairs: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] | None = None
    outputs: ClassVar[str] = "points are (N, K, 2) or (N, 2K), with labels (N, K, 2) or (N, K, 3)"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """PCK decides."""
        return pck.metric(self.threshold, self.size), oks.metric(self.sigma, self.size)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N, K, 3) as float32: x, y and 1 where the point is visible."""
        points = require_finite(labels, where, "points (N, K, 2), or (N, K, 3) with what is visible", (3,))
        if points.shape[2] not in (2, 3):
            raise BadInputError(
                f"{where} holds {points.shape[2]} numbers a point: x, y and perhaps whether it is visible"
            )
        if self.size is None and points.shape[1] < 2:
            raise BadInputError(f"{where} holds one point a sample: say how large an object is, with the option size")
        if any(point >= points.shape[1] for pair in self.pairs or () for point in pair):
            raise BadInputError(f"pairs {self.pairs}: {where} holds the points 0 to {points.shape[1] - 1}")
        paired = [point for pair in self.pairs or () for point in pair]
        if len(set(paired)) < len(paired):
            raise BadInputError(f"pairs {self.pairs}: a point has one that it changes places with, and is named once")
        seen = points[..., 2:] > 0 if points.shape[2] == 3 else np.ones_like(points[..., :1], bool)
        return np.concatenate([points[..., :2], seen.astype(np.float32)], axis=2)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether there are two outputs for each point."""
        if labels.ndim != 3 or len(outputs) not in (2, 3) or None in outputs[1:]:
            return False
        samples, *sizes = outputs
        return samples == len(labels) and prod(size or 0 for size in sizes) == 2 * labels.shape[1]

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean absolute error of the visible points' coordinates, 0 where none is visible."""
        points, seen = labels[..., :2], labels[..., 2:]
        error = (outputs.reshape(points.shape) - points).abs() * seen
        return {"absolute_error": error.sum() / (2 * seen.sum()).clamp(min=1)}

    def moved(self, labels: Array, move: Move) -> Array:
        """Return the points, in pixels, moved as the images are; what is outside is not visible.

        Raises BadInputError where an image is mirrored and nobody has said which points are pairs, and for points that
        are no pixels. What are no images stays.
        """
        if len(move.size) != 2:
            return labels
        height, width = move.size
        points, origin_and_right = move.points(labels[..., :2]), np.zeros((len(labels), 2, 2))
        origin_and_right[:, 1, 0] = width
        seen = labels[..., :2][labels[..., 2] > 0]
        if len(seen) > 2 and np.abs(seen).max() <= 1 < min(move.size) and (points != labels[..., :2]).any():
            raise BadInputError(
                "data.augmentation moves points in pixels, but all of a batch are within one pixel of the corner of "
                f"images of {width}×{height}: give x and y in pixels"
            )
        mirrored = np.diff(move.points(origin_and_right)[..., 0], axis=1)[:, 0] < 0
        inside = ((points >= 0) & (points <= [width, height])).all(axis=2, keepdims=True)
        found = np.concatenate([points, labels[..., 2:] * inside], axis=2).astype(labels.dtype)
        if self.pairs is None and mirrored.any():
            raise BadInputError(
                "data.augmentation mirrors images; say which points change places then, such as the left and the right "
                "eye: task options = { pairs = [[1, 2]] }, or [] for none"
            )
        order = np.arange(labels.shape[1])
        for one, other in self.pairs or ():
            order[[one, other]] = order[[other, one]]
        return np.where(mirrored[:, None, None], found[:, order], found)

    def decide(self, outputs: Array) -> Array:
        """Return the points, all of them visible."""
        points = outputs.reshape(len(outputs), -1, 2)
        return np.concatenate([points, np.ones_like(points[..., :1])], axis=2)

    def constant(self, labels: Array) -> Array:
        """Return each point's mean."""
        seen = labels[..., 2:]
        mean: Array = (labels[..., :2] * seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        return mean

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return 2K."""
        return 2 * int(labels.shape[1])

    def unscorable(self, labels: Array) -> str | None:
        """Return whether no point is visible."""
        return None if labels[..., 2].any() else "no point is visible"

    def check_outputs(self, outputs: Shape, labels: Array, names: Sequence[str], who: str) -> None:
        """Raise BadInputError, about `who`, unless its outputs fit."""
        if not self.fits(outputs, labels):
            raise BadInputError(
                f"{who} puts out {outputs} for {len(labels)} samples; {self.outputs}: {labels.shape[1]} points"
            )
