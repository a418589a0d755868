"""Accuracy: how often the largest of a sample's outputs is that of its label."""

from edgekd.metrics._base import Array, Metric, mean, standard_error_of_mean
from edgekd.metrics._takes import Takes


def metric() -> Metric:
    """Return the share of samples, of outputs (N, C) and labels (N,)."""
    return Metric("accuracy", _right, mean, error=standard_error_of_mean, takes=Takes("N, C", "N", "class"))


def _right(outputs: Array, labels: Array) -> Array:
    rows: Array = (outputs.argmax(axis=1) == labels)[:, None]
    return rows
