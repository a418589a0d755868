"""Root mean squared error."""

import numpy as np

from edgekd.metrics._base import Array, Metric, by_output


def metric(unit: str = "") -> Metric:
    """Return the mean over outputs of each one's root mean squared error, of outputs and labels (N, k)."""
    return Metric("rmse", _squares, _root, better="lower", unit=unit)


def _squares(outputs: Array, labels: Array) -> Array:
    found, wanted = by_output(outputs, labels)
    squares: Array = np.square(found - wanted)
    return squares


def _root(rows: Array) -> float:
    return float(np.sqrt(rows.mean(axis=0)).mean())
