"""Embedding: samples of one label lie near each other; outputs are embeddings (N, D), labels class indices (N,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from edgekd.metrics import Metric, recall_at_k
from edgekd.tasks._base import Array, Shape, Task, refuse

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Embedding(Task):
    """For search and recognition, by the supervised contrastive loss (Khosla et al., arXiv:2004.11362)."""

    k: PositiveInt = 1
    temperature: PositiveFloat = 0.1
    outputs: ClassVar[str] = "embeddings are (N, D)"
    method: ClassVar[str] = "embedding"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Recall@k decides."""
        return (recall_at_k.metric(self.k),)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N,) as int64: equal ones belong together."""
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise refuse(where, "integer labels (N,), equal where samples belong together", labels)
        return labels.astype(np.int64)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether each sample has an embedding."""
        return len(outputs) == 2 and outputs[0] == len(labels)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return eq. 2, the mean over samples that share their label with another of the batch, 0 where none does."""
        import torch
        from torch.nn import functional as F

        unit = F.normalize(outputs)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        chances = F.log_softmax((unit @ unit.T / self.temperature).masked_fill(itself, -torch.inf), dim=1)
        alike = (labels[:, None] == labels) & ~itself
        some = alike.sum(1)
        losses = -chances.masked_fill(~alike, 0.0).sum(1) / some.clamp(min=1)
        return {"contrastive": losses.sum() / (some > 0).sum().clamp(min=1)}

    def decide(self, outputs: Array) -> Array:
        """Return which sample is nearest: see `agreement`."""
        return recall_at_k.nearest(recall_at_k.unit_rows(outputs), 1)[:, 0]

    def agreement(self, outputs: Array, reference: Array) -> float:
        """Return how often both find the same sample nearest."""
        return float(np.mean(self.decide(outputs) == self.decide(reference)))

    def constant(self, labels: Array) -> Array:
        """Return one embedding for all."""
        return np.ones(1, np.float32)

    def chance(self, labels: Array) -> tuple[float, float]:
        """Return how often one of k others, drawn at random, has the label, and that share's standard error."""
        _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        miss = 1 - (counts[place] - 1) / max(1, len(labels) - 1)
        share = float(np.mean(1 - miss[counts[place] > 1] ** self.k)) if (counts > 1).any() else 0.0
        return share, float((share * (1 - share) / len(labels)) ** 0.5)

    def unscorable(self, labels: Array) -> str | None:
        """Return why every search ends alike."""
        _, counts = np.unique(labels, return_counts=True)
        if len(counts) < 2:
            return "all samples have one label, so that whatever is near is right"
        if counts.max() < 2:
            return "no two samples share a label, so that nothing can be found"
        return (
            f"of {len(labels)} samples any has all others among its k = {self.k}" if self.k >= len(labels) - 1 else None
        )

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return 0: an embedding is as long as its network makes it."""
        return 0

    def strata(self, labels: Array) -> Array:
        """Return the labels."""
        return labels
