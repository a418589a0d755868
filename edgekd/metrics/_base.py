"""What a metric is: numpy alone, so that a device's answers are scored by the code that scored the network."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError, EdgekdError
from edgekd.metrics._scale import Scale
from edgekd.metrics._takes import Takes
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
        takes: what one output and the labels have to be; None leaves that to `count`.
        columns: which of the labels' columns are its own; None: all.
    """

    count: Callable[[Any, Array], Array]
    score: Callable[[Array], float]
    error: Callable[[Array], float] | None = None
    _: KW_ONLY
    reads: Reads = None
    takes: Takes | None = None
    columns: slice | int | None = None

    @property
    def by_class(self) -> bool:
        """Whether the largest output of a sample is what it says."""
        return self.takes is not None and self.takes.by_class

    def __call__(self, outputs: Outputs, labels: Array) -> float:
        """Return the number."""
        return self.score(self.rows(outputs, labels))

    def of(self, output: str, labels: slice | int) -> "Metric":
        """Return this metric of one of several outputs, by name, and of the columns of the labels that are its own."""
        return replace(self, name=f"{output}_{self.name}", reads=output, columns=labels)

    def rows(self, outputs: Outputs, labels: Array, start: int = 0) -> Array:
        """Return what `count` makes of samples, the first of which has the number `start`.

        Raises BadInputError, with both shapes, where it cannot.
        """
        found = chosen(outputs, self.reads, f"metric {self.name!r}") if isinstance(outputs, Mapping) else outputs
        try:
            marks = labels if self.columns is None else labels[:, self.columns]
            self._require(found, marks, start)
            parts = [slice(place, place + CHUNK) for place in range(0, len(marks), CHUNK)]
            return np.concatenate([self.count(_part(found, part), marks[part]) for part in parts])
        except EdgekdError:
            raise
        except Exception as error:  # the user's own code, or outputs of another kind: anything may come out of it
            raise self._refusal(found, labels, told(error)) from error

    def counted(self, outputs: Any, labels: Array) -> Array:
        """Return what `count` makes of a chunk, as it is given it; errors as in `rows`."""
        self._require(outputs, labels)
        return self.count(outputs, labels)

    def _require(self, outputs: Any, labels: Array, start: int = 0) -> None:
        if self.takes is not None and (fault := self.takes.fault(outputs, labels, start)):
            raise self._refusal(outputs, labels, fault)

    def _refusal(self, outputs: Any, labels: Array, why: str) -> BadInputError:
        shapes = f"outputs {each(outputs, np.shape)}, labels {labels.shape}"
        return BadInputError(f"metric {self.name!r} cannot score {shapes}: {why}")

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
    if outputs.size != wanted.size:
        raise ValueError(f"outputs hold {outputs[0].size} numbers a sample, labels {wanted.shape[1]}")
    return outputs.reshape(wanted.shape).astype(np.float64), wanted
