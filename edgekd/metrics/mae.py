"""Mean absolute error."""

import numpy as np

from edgekd.metrics._base import Array, Metric, by_output, mean, standard_error_of_mean


def metric(unit: str = "") -> Metric:
    """Return the mean over samples and outputs, of outputs and labels (N, k)."""
    return Metric("mae", _errors, mean, error=standard_error_of_mean, better="lower", unit=unit)


def _errors(outputs: Array, labels: Array) -> Array:
    found, wanted = by_output(outputs, labels)
    errors: Array = np.abs(found - wanted).mean(axis=1, keepdims=True)
    return errors
