"""Multi-label classification: any of C labels may hold; outputs are logits (N, C), labels 0 or 1, (N, C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, macro_f1, mean_ap
from edgekd.tasks._base import Array, Shape, Task, refuse, require_names, require_width

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MultiLabel(Task):
    """Each label by itself, by binary cross-entropy; a logit above 0 says yes."""

    outputs: ClassVar[str] = "logits are (N, labels)"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Macro-averaged F1 decides."""
        return macro_f1.metric(), mean_ap.metric()

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N, C) as float32 zeros and ones."""
        if labels.ndim != 2 or labels.dtype.kind not in "biuf":
            raise refuse(where, "a matrix (N, labels) of 0 and 1", labels)
        strange = ~np.isin(labels, (0, 1)).all(axis=1)
        if strange.any():
            sample = int(strange.argmax())
            raise BadInputError(f"{where} holds {labels[sample]} in sample {sample}; each label is 0 or 1")
        return require_width(labels.astype(np.float32), where, width)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether there is a logit for each label."""
        return labels.ndim == 2 and tuple(outputs) == labels.shape

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean binary cross-entropy."""
        from torch.nn import functional as F

        return {"binary_cross_entropy": F.binary_cross_entropy_with_logits(outputs, labels)}

    def decide(self, outputs: Array) -> Array:
        """Return which labels hold."""
        return (outputs > 0).astype(np.float32)

    def constant(self, labels: Array) -> Array:
        """Return yes to every label, of all constants the best by F1."""
        return np.ones(labels.shape[1], np.float32)

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return the labels' names, or their numbers."""
        return require_names(given, labels.shape[1], source)

    def unscorable(self, labels: Array) -> str | None:
        """Return whether no label holds anywhere."""
        return None if labels.any() else "no sample has any label"

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return how many labels there are."""
        return int(labels.shape[1])
