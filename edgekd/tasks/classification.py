"""Classification: each sample is of one class; outputs are logits (N, C), labels class indices (N,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import NonNegativeFloat

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, accuracy, calibration_error
from edgekd.tasks._base import Array, Shape, Task, refuse, require_classes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Classification(Task):
    """One class of several; the loss is cross-entropy, with smoothed labels if asked."""

    label_smoothing: NonNegativeFloat = 0.0
    outputs: ClassVar[str] = "logits are (N, classes)"
    by_class: ClassVar[bool] = True
    method: ClassVar[str] = "kd"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy decides."""
        return accuracy.metric(), calibration_error.metric()

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N,) as int64 class indices, below the number of classes where that is known."""
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise refuse(where, "integer labels (N,), class indices", labels)
        require_classes(labels, where, width)
        return labels.astype(np.int64)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether there is a row of logits for each sample, of two classes or more."""
        return len(outputs) == 2 and outputs[0] == len(labels) and (outputs[1] is None or outputs[1] > 1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean cross-entropy of logits (N, C) with int64 classes (N,)."""
        from torch.nn import functional as F

        return {"cross_entropy": F.cross_entropy(outputs, labels, label_smoothing=self.label_smoothing)}

    def decide(self, outputs: Array) -> Array:
        """Return the class of the largest logit, (N,)."""
        classes: Array = outputs.argmax(axis=1)
        return classes

    def constant(self, labels: Array) -> Array:
        """Return a logit for the commonest class."""
        counts = np.bincount(labels, minlength=2)
        logits: Array = np.eye(len(counts), dtype=np.float32)[counts.argmax()]
        return logits

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return the classes' names, or their numbers; there are two at least."""
        if given is None and labels.max() >= len(labels):
            raise BadInputError(
                f"{source}: y_train holds class {labels.max()} in sample {int(labels.argmax())} of {len(labels)}, more "
                "classes than samples: number classes without gaps, or name them all in classes"
            )
        classes = tuple(given) if given is not None else tuple(map(str, range(int(labels.max()) + 1)))
        if len(classes) < 2:
            raise BadInputError(f"{source}: y_train holds one class; there is nothing to tell apart")
        return classes

    def doubt(self, labels: Array, names: Sequence[str]) -> str | None:
        """Return whether they seem to be counted from 1, or with gaps, or some class is not taught."""
        missing = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)
        if not len(missing):
            return None
        first, last = int(missing[0]), int(labels.max())
        if first > last:
            return f"no training sample has class {first}, {names[first]!r}: labels go up to {last}"
        there = "class indices start at 0" if first == 0 else "class indices have no gaps"
        return f"no training sample has class {first} of 0 to {last}; {there}"

    def strata(self, labels: Array) -> Array:
        """Return the classes."""
        return labels
