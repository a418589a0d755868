"""What the edges of a float model hold over calibration samples: one pass, and no more memory than a batch takes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.quantization.ranges import Method, Observed
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

Range = tuple[float, float]
Arrays = dict[str, Array]
BATCH = 64


@dataclass
class _Mean:
    """A mean over some leading dimensions, which stay as 1; over all but the last where -1 is asked."""

    leading: int
    total: NDArray[np.float64] | float = 0.0
    count: int = 0

    def add(self, values: Array) -> None:
        axes = tuple(range(values.ndim)[: self.leading])
        self.total = self.total + values.sum(axis=axes, dtype=np.float64, keepdims=True)
        self.count += math.prod(values.shape[axis] for axis in axes)

    def value(self) -> Array:
        """What it is."""
        return np.asarray(self.total / self.count, np.float32)


class Observation:
    """Edges and how their values are spread; what is asked for later costs another pass."""

    def __init__(self, model: onnx.ModelProto, batches: Iterable[Arrays], method: Method) -> None:
        self._model, self._batches, self._method = model, list(batches), method
        self._spread: dict[str, Observed] = {}
        self._means: dict[str, _Mean] = {}
        self._ranges: dict[tuple[Scheme, str], Range] = {}

    def look(self, edges: Iterable[str], averaged: Mapping[str, int] | None = None) -> None:
        """Watch edges for their ranges, and some for their means, over that many leading dimensions.

        Raises BadInputError where there are no samples.
        """
        spread = {edge: Observed(self._method) for edge in edges if edge not in self._spread}
        means = {edge: _Mean(leading) for edge, leading in (averaged or {}).items() if edge not in self._means}
        if not spread and not means:
            return
        if not self._batches:
            raise BadInputError("calibration needs at least one batch of inputs")
        reference = Reference(self._model, list(dict.fromkeys((*spread, *means))))
        for batch in self._batches:
            for _, made in reference.parts(batch, BATCH):
                for edge, seen in spread.items():
                    seen.add(made[edge])
                for edge, mean in means.items():
                    mean.add(made[edge])
        self._spread |= spread
        self._means |= means

    def ranges(self, edges: Iterable[str], scheme: Scheme) -> dict[str, Range]:
        """Return the range of each edge, which has to be watched; BadInputError where values are not finite."""
        return {edge: self._range(edge, scheme) for edge in edges}

    def taken_means(self, edges: Iterable[str]) -> dict[str, Array]:
        """Return the means of averaged edges, and keep them no longer: they are large."""
        wanted = dict.fromkeys(edges)
        return {edge: self._means.pop(edge).value() for edge in wanted}

    def _range(self, edge: str, scheme: Scheme) -> Range:
        if (scheme, edge) not in self._ranges:
            self._ranges[scheme, edge] = _finite(edge, self._spread[edge].range(scheme))
        return self._ranges[scheme, edge]


def _finite(edge: str, extremes: Range) -> Range:
    if not np.isfinite(extremes).all():
        advice = "check the preprocessing of the calibration inputs, then the float model itself"
        raise BadInputError(f"calibration met values that are not finite at {edge!r}: {advice}")
    return extremes
