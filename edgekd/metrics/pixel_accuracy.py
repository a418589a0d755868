"""Pixel accuracy: the share of labelled positions that get their class."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes


def metric(ignore: int = 255) -> Metric:
    """Return it, of logits (N, C, …) and classes (N, …); positions with the label `ignore` do not count."""
    return Metric(
        "pixel_accuracy",
        lambda logits, labels: _right(logits, labels, ignore),
        _share,
        takes=Takes("N, C, …", "N, …", "class", ignore),
    )


def _right(logits: Array, labels: Array, ignore: int) -> Array:
    known, right = labels != ignore, logits.argmax(axis=1) == labels
    return np.stack([(each & known).reshape(len(labels), -1).sum(axis=1) for each in (right, known)], axis=1)


def _share(rows: Array) -> float:
    right, known = rows.sum(axis=0)
    return float(right / max(known, 1))
