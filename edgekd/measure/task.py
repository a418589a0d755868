"""Task metrics of predictions, on the host. Metrics are fractions, higher is better, but for the calibration error."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def accuracy(logits: Array, labels: Array) -> float:
    """Fraction of samples whose largest logit, of (N, C), is that of the label, (N,)."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def spearman(embeddings: Array, scores: Array) -> float:
    """Spearman's rank correlation of the cosine of rows 2i and 2i+1 of (2P, D) with their score; `scores` are (2P,).

    0 where all cosines or all scores are equal: nothing is ranked.
    """
    ranks = np.stack([_ranks(pair_cosines(embeddings)), _ranks(scores[::2])])
    return float(np.corrcoef(ranks)[0, 1]) if np.ptp(ranks, axis=1).all() else 0.0


METRICS = {"accuracy": accuracy, "spearman": spearman}


def pair_cosines(embeddings: Array) -> Array:
    """Cosine similarity (P,) of rows 2i and 2i+1 of (2P, D)."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    cosines: Array = np.sum(unit[::2] * unit[1::2], axis=1)
    return cosines


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def agreement(logits: Array, reference: Array) -> float:
    """Fraction of samples on which two (N, C) predictions choose the same class."""
    return float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1)))


def calibration_error(logits: Array, labels: Array, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017, arXiv:1706.04599, eq. 3): lower is better."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = shifted.max(axis=1) / shifted.sum(axis=1)
    correct = logits.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    gap = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
