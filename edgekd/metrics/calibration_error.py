"""Expected calibration error: how far confidence is from accuracy (Guo et al., ICML 2017, arXiv:1706.04599)."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes


def metric(bins: int = 15) -> Metric:
    """Return equation 3 over equally wide bins (low, high], of logits (N, C) and labels (N,)."""
    return Metric(
        "calibration_error",
        _confidence_and_right,
        lambda rows: _gap(rows, bins),
        better="lower",
        takes=Takes("N, C", "N", "class"),
    )


def _confidence_and_right(logits: Array, labels: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = shifted.max(axis=1) / shifted.sum(axis=1)
    return np.stack([confidence, logits.argmax(axis=1) == labels], axis=1)


def _gap(rows: Array, bins: int) -> float:
    confidence, right = rows.T
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(rows))
