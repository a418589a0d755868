"""Segmentation: a class for each pixel; outputs are logits (N, C, H, W), labels class indices (N, H, W)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import NonNegativeFloat

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, miou, pixel_accuracy
from edgekd.tasks._base import Array, Move, Shape, Task, refuse, require_classes, require_no_gap
from edgekd.tasks._draw import with_classes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Segmentation(Task):
    """Each pixel by cross-entropy; those labelled `ignore` neither teach nor count."""

    ignore: int = 255
    label_smoothing: NonNegativeFloat = 0.0
    outputs: ClassVar[str] = "logits are (N, classes, H, W), as large as the labels (N, H, W)"
    by_class: ClassVar[bool] = True
    method: ClassVar[str] = "kd"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean intersection over union decides."""
        return miou.metric(self.ignore), pixel_accuracy.metric(self.ignore)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N, H, W), as uint8 where they and `ignore` fit, else int32."""
        if labels.ndim != 3 or labels.dtype.kind not in "iu":
            raise refuse(where, "integer labels (N, H, W), a class for each pixel", labels)
        require_classes(labels, where, width, self.ignore)
        small = 0 <= self.ignore <= 255 and (labels.size == 0 or (labels.min() >= 0 and labels.max() <= 255))
        return labels.astype(np.uint8 if small else np.int32)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether each pixel has logits, of two classes or more."""
        if len(outputs) != 4 or labels.ndim != 3:
            return False
        samples, classes, *size = outputs
        return (samples, *size) == labels.shape and (classes is None or classes > 1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean cross-entropy over the pixels that have a label, 0 where none has."""
        from torch.nn import functional as F

        wanted = labels.long()
        losses = F.cross_entropy(
            outputs, wanted, ignore_index=self.ignore, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return {"cross_entropy": losses / (wanted != self.ignore).sum().clamp(min=1)}

    def known(self, labels: Tensor) -> Tensor:
        """Return the pixels that are not to be ignored."""
        return labels != self.ignore

    def moved(self, labels: Array, move: Move) -> Array:
        """Return the maps moved as the images are; what enters from outside has no label.

        Raises BadInputError for maps of another size than the images, whose moves are not theirs.
        """
        if labels.shape[1:] != move.size:
            raise BadInputError(
                f"data.augmentation moves images of {move.size}; maps of {labels.shape[1:]} cannot move along: "
                "bring them to the images' size"
            )
        shifted = labels.astype(np.int32) - self.ignore  # an image is filled up with zeros
        return (move.moved(shifted[:, None])[:, 0] + self.ignore).astype(labels.dtype)

    def decide(self, outputs: Array) -> Array:
        """Return the class of each pixel."""
        classes: Array = outputs.argmax(axis=1)
        return classes

    def draw(self, image: Array, labels: Array) -> Array:
        """Return the image with the class of each pixel (H, W); class 0, often the ground, is left as it is."""
        return with_classes(image, labels, (labels != self.ignore) & (labels > 0))

    def constant(self, labels: Array) -> Array:
        """Return logits for the commonest class everywhere."""
        counts = np.bincount(labels[labels != self.ignore].ravel(), minlength=2)
        logits = np.eye(len(counts), dtype=np.float32)[counts.argmax()]
        return np.broadcast_to(logits[:, None, None], (len(counts), *labels.shape[1:]))

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return the classes' names or, where they have no gaps, their numbers."""
        if given is not None:
            return tuple(given)
        found = np.unique(labels[labels != self.ignore]).astype(np.int64)
        names = require_no_gap(found, "pixel", source)
        if len(names) < 2:
            raise BadInputError(f"{source}: y_train holds one class; there is nothing to tell apart")
        return names

    def unscorable(self, labels: Array) -> str | None:
        """Return whether there is nothing but what is ignored."""
        return f"every pixel is {self.ignore}, which is ignored" if (labels == self.ignore).all() else None
