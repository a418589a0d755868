"""Coefficient of determination, R²: the share of the labels' variance that the outputs explain."""

import numpy as np

from edgekd.metrics._base import Array, Metric, by_output


def metric() -> Metric:
    """Return the mean over outputs, of outputs and labels (N, k); of constant labels 1 where they are met, else 0."""
    return Metric("r2", _pairs, _explained, unit="")


def _pairs(outputs: Array, labels: Array) -> Array:
    return np.stack(by_output(outputs, labels), axis=1)


def _explained(rows: Array) -> float:
    found, wanted = rows[:, 0], rows[:, 1]
    missed, spread = (np.square(each).sum(axis=0) for each in (found - wanted, wanted - wanted.mean(axis=0)))
    shares = np.where(spread > 0, 1 - missed / np.where(spread > 0, spread, 1), missed == 0)
    return float(shares.mean())
