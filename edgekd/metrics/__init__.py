"""Metrics, one a file: `metric()` there returns it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekd import plugins, user_code
from edgekd.errors import BadInputError
from edgekd.metrics._base import Array, Metric, Outputs
from edgekd.metrics._scale import Scale
from edgekd.metrics._takes import Takes
from edgekd.outputs import each, stacked

__all__ = ["Array", "Metric", "Scale", "Takes", "find_metric"]


def find_metric(reference: str) -> Metric:
    """Return a metric by the name of its file here, or the user's `module:object`: a Metric, or a plain function.

    The function takes the outputs (of several a dictionary by name) and the labels of all samples and returns a number;
    higher is better.
    Raises BadInputError for an unknown name, and for an object that is neither.
    """
    if ":" not in reference:
        found: Metric = plugins.builtin(__name__, reference, "metric").metric()
        return found
    own = user_code.custom(reference, "metric")
    if isinstance(own, Metric):
        return own
    if not callable(own) or isinstance(own, type):
        raise BadInputError(f"metric {reference!r} is neither an edgekd.metrics.Metric nor a function")
    return _of_function(own, reference)


def _of_function(function: Callable[[Array, Array], Any], reference: str) -> Metric:
    """A metric whose rows are the samples themselves."""

    def count(outputs: Outputs, labels: Array) -> Array:
        rows = np.empty(len(labels), object)
        rows[:] = [(_sample(outputs, place), label) for place, label in enumerate(labels)]
        return rows

    def score(rows: Array) -> float:
        outputs, labels = (stacked(values) for values in zip(*rows, strict=True))
        try:
            return float(function(outputs, labels))
        except Exception as error:  # the user's own code: anything may come out of it
            raise BadInputError(f"metric {reference!r}: {plugins.told(error)}") from error

    return Metric(reference.partition(":")[2], count, score, unit="", reads=())


def _sample(outputs: Outputs, place: int) -> Any:
    return each(outputs, lambda rows: rows[place])
