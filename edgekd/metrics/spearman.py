"""Spearman's rank correlation of how alike two embeddings are with how alike they should be."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes

_RANKS = 1.06  # the variance of a rank correlation's Fisher z is 1.06 / (n - 3) (Fieller et al., Biometrika 1957)


def metric() -> Metric:
    """Return the correlation of the cosine of rows 2i and 2i+1 of embeddings (2P, D) with their score, labels (2P,).

    0 where all cosines or all scores are equal: nothing is ranked.
    """
    return Metric("spearman", _cosine_and_score, _correlation, error=_error, takes=Takes("N, D", "N"))


def pair_cosines(embeddings: Array) -> Array:
    """Return the cosine similarity (P,) of rows 2i and 2i+1 of (2P, D)."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    cosines: Array = np.sum(unit[::2] * unit[1::2], axis=1)
    return cosines


def _cosine_and_score(embeddings: Array, scores: Array) -> Array:
    if not np.array_equal(scores[::2], scores[1::2], equal_nan=True):
        raise ValueError("rows 2i and 2i+1 must both carry the score of their pair")
    return np.stack([pair_cosines(embeddings), scores[::2]], axis=1)


def _correlation(rows: Array) -> float:
    ranks = np.stack([_ranks(values) for values in rows.T])
    return float(np.corrcoef(ranks)[0, 1]) if np.ptp(ranks, axis=1).all() else 0.0


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _error(rows: Array) -> float:
    """(1 - r²) · √(1.06 / (n - 3)), from Fisher's z."""
    return float((1 - _correlation(rows) ** 2) * (_RANKS / max(1, len(rows) - 3)) ** 0.5)
