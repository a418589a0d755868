"""What a metric is: numpy alone, so that a device's answers are scored by the code that scored the network."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError
from edgekd.metrics._scale import Scale
from edgekd.outputs import Reads, chosen, each
from edgekd.plugins import told

Array = NDArray[Any]
Outputs = Array | Mapping[str, Array]  # of a network with several, by name

CHUNK = 720  # samples at once; it is a multiple of whatever belongs together (pairs, triplets)
RESAMPLES = 200  # they know a standard error within 1 / sqrt(2 * 200) = 5 %


@dataclass(frozen=True)
class Metric(Scale):
    """A number that says how good outputs (N, …) are for labels (N, …), by way of a small row per sample.

    Attributes:
        count: rows (n, k) from the outputs and the labels of a chunk; of samples that belong together, one for all.
        score: the number, from all rows (N, k).
        error: its standard error from the rows; None draws rows with replacement (bootstrap).
        reads: which outputs of a network that has several `count` is given: one, or several by name.
    """

    count: Callable[[Any, Array], Array]
    score: Callable[[Array], float]
    error: Callable[[Array], float] | None = None
    _: KW_ONLY
    reads: Reads = None

    def __call__(self, outputs: Outputs, labels: Array) -> float:
        """Return the number."""
        return self.score(self.rows(outputs, labels))

    def of(self, output: str, labels: slice | int) -> "Metric":
        """Return this metric of one of several outputs, by name, and of the columns of the labels that are its own."""

        def count(outputs: Array, marks: Array) -> Array:
            return self.count(outputs, marks[:, labels])

        return replace(self, name=f"{output}_{self.name}", count=count, reads=output)

    def rows(self, outputs: Outputs, labels: Array) -> Array:
        """Return what `count` makes of all samples; BadInputError, with both shapes, where it cannot."""
        found = chosen(outputs, self.reads, f"metric {self.name!r}") if isinstance(outputs, Mapping) else outputs
        parts = [slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK)]
        try:
            return np.concatenate([self.count(_part(found, part), labels[part]) for part in parts])
        except Exception as error:  # the user's own code, or outputs of another kind: anything may come out of it
            shapes = f"outputs {each(found, np.shape)}, labels {labels.shape}"
            raise BadInputError(f"metric {self.name!r} cannot score {shapes}: {told(error)}") from error

    def standard_error(self, rows: Array) -> float:
        """Return the deviation that the number has over samples like these."""
        if self.error is not None:
            return self.error(rows)
        random = np.random.default_rng(0)
        draws = (rows[random.integers(0, len(rows), len(rows))] for _ in range(RESAMPLES))
        return float(np.std([self.score(draw) for draw in draws], ddof=1))


def _part(outputs: Outputs, part: slice) -> Any:
    return each(outputs, lambda array: array[part])


def mean(rows: Array) -> float:
    """Return the mean of rows (N, 1)."""
    return float(np.mean(rows))


def standard_error_of_mean(rows: Array) -> float:
    """Return σ / √N; of rows that are 0 or 1, √(p (1 - p) / N)."""
    return float(np.std(rows) / len(rows) ** 0.5)


def by_output(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """Return both as float64 (n, k); k is that of the labels, so that outputs (n,) and (n, 1) are alike."""
    wanted = labels.reshape(len(labels), -1).astype(np.float64)
    return outputs.reshape(wanted.shape).astype(np.float64), wanted
