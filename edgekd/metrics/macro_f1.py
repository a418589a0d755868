"""Macro-averaged F1: the mean over labels of the harmonic mean of precision and recall."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes


def metric() -> Metric:
    """Return it, of logits and labels 0 or 1, both (N, C); a logit above 0 says yes.

    A label that nobody has and nobody is given counts as 0.
    """
    return Metric("macro_f1", _counts, _mean, takes=Takes("N, L", "N, L", "flag"))


def _counts(logits: Array, labels: Array) -> Array:
    found, wanted = logits > 0, labels > 0
    return np.stack([found & wanted, found, wanted], axis=1)


def _mean(rows: Array) -> float:
    right, found, wanted = rows.sum(axis=0)
    either = found + wanted
    return float(np.mean(2 * right / np.where(either > 0, either, 1)))
