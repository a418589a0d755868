"""Sentence pairs: rows 2i and 2i+1 are as alike as their score; outputs are embeddings (2P, D), labels scores (2P,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgekd.errors import BadInputError
from edgekd.metrics import Metric, spearman
from edgekd.tasks._base import Array, Shape, Task, refuse

if TYPE_CHECKING:
    from torch import Tensor

PAIRED = "rows 2i and 2i+1 must both carry the score of their pair"


@dataclass(frozen=True)
class SentencePairs(Task):
    """How alike two sentences are, by the cosine of their embeddings; NaN in a training label is no score."""

    group_size: ClassVar[int] = 2
    outputs: ClassVar[str] = "embeddings are (N, D)"
    method: ClassVar[str] = "embedding"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Spearman's correlation decides."""
        return (spearman.metric(),)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return scores (2P,) as float32, those of rows 2i and 2i+1 alike."""
        if labels.ndim != 1 or labels.dtype.kind not in "iuf":
            raise refuse(where, "scores of pairs (2P,)", labels)
        scores = labels.astype(np.float32)
        if len(scores) % 2:
            raise BadInputError(f"{where} holds {len(scores)} scores; {PAIRED}")
        first, second = scores.reshape(-1, 2).T
        unlike = (first != second) & ~(np.isnan(first) & np.isnan(second))
        if unlike.any():
            row = 2 * int(unlike.argmax())
            raise BadInputError(f"{where} holds {scores[row]:g} and {scores[row + 1]:g} from sample {row} on; {PAIRED}")
        wrong = np.isinf(scores) if unlabelled else ~np.isfinite(scores)
        if wrong.any():
            raise BadInputError(f"{where} is not finite in sample {int(wrong.argmax())}: it must hold scores of pairs")
        return scores

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether each row has an embedding."""
        return len(outputs) == 2 and outputs[0] == len(labels)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean squared error of each pair's cosine, 0 where no pair has a score."""
        from torch.nn import functional as F

        scores = labels[::2]
        error = F.cosine_similarity(outputs[::2], outputs[1::2]) - scores.nan_to_num()
        known = ~scores.isnan()
        return {"squared_error": (error.square() * known).sum() / known.sum().clamp(min=1)}

    def decide(self, outputs: Array) -> Array:
        """Return the cosine of each pair, for both of its rows."""
        return np.repeat(spearman.pair_cosines(outputs), self.group_size)

    def constant(self, labels: Array) -> Array:
        """Return one embedding for all."""
        return np.ones(1, np.float32)

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return none: an embedding's values have no names."""
        if given:
            raise BadInputError(f"{source}: sentence-pairs has no classes, but {len(given)} names of them")
        return ()

    def doubt(self, labels: Array, names: Sequence[str]) -> str | None:
        """Return whether no cosine reaches some score."""
        most = float(np.nanmax(np.abs(labels), initial=0.0))
        return f"scores go up to {most:g}, but a cosine is within -1 and 1: divide them" if most > 1 else None

    def unscorable(self, labels: Array) -> str | None:
        """Return whether no pair is more alike than another."""
        return "all pairs have one score, so that there is no order to be found" if np.ptp(labels) == 0 else None

    def labelled(self, labels: Array) -> Array:
        """Return which rows have a score."""
        return ~np.isnan(labels)
