"""From observed values to scales and zero points. Pure arithmetic; every scale is an exact float32."""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from edgekd.quantization.histogram import Histogram
from edgekd.quantization.scheme import Scheme

Method = Literal["minmax", "ema", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

MIN_ACTIVATION_SCALE = 1e-8
MIN_WEIGHT_SCALE = 1e-9
BIAS_LIMIT = 2.0**30
EMA_FLOOR = 0.01
PERCENTILE = 99.99
SHARES = np.linspace(1.0, 0.2, 33).tolist()  # of the full range, that a search tries
DRAWN = 2048  # values of a sample that it looks at, beside its extremes
# One float32 step down: runtimes drop a ReLU6 only if scale · 255 ≤ 6.0, which the nearest float32 may exceed.
ROUND_DOWN = 1 - 2.0**-23


class Affine(NamedTuple):
    """Real value = (stored - zero_point) · scale."""

    scale: float
    zero_point: int


def affine(low: float, high: float, scheme: Scheme) -> Affine:
    """Scale and zero point whose stored range covers [low, high] and holds 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    smallest, largest = scheme.activation_range
    span, steps = (max(-low, high), largest) if scheme.symmetric else (high - low, largest - smallest)
    scale = float(np.float32(max(span / steps * ROUND_DOWN, MIN_ACTIVATION_SCALE)))
    if scheme.symmetric:
        return Affine(scale, 0)
    return Affine(scale, min(max(smallest + round(-low / scale), smallest), largest))


@dataclass
class Observed:
    """What calibration keeps of an edge's values: per sample, so that batches and order decide nothing.

    Exact extremes, the sum of each sample's own, and where a method asks a histogram: of all values of a small sample;
    of a large one's drawn values and its extremes.
    """

    method: Method
    low: float = math.inf
    high: float = -math.inf
    samples: int = 0
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, values: NDArray[np.float32]) -> None:
        """Watch one batch, samples first."""
        rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        lows, highs = rows.min(1), rows.max(1)
        self.low, self.high = min(self.low, float(lows.min())), max(self.high, float(highs.max()))
        self.samples += len(rows)
        self.sums += lows.sum(dtype=np.float64), highs.sum(dtype=np.float64)
        if self.method in {"percentile", "mse"} and np.isfinite(self.sums).all():
            self.histogram.add(rows if rows.shape[1] <= DRAWN else np.column_stack([_drawn(rows), lows, highs]))

    def range(self, scheme: Scheme) -> tuple[float, float]:
        """Their extremes, the mean of each sample's, a percentile on both sides, or what rounds with least error."""
        if self.method == "ema" or not np.isfinite(self.sums).all():
            low, high = self.sums / self.samples
            return float(low), float(high)
        if self.method == "minmax":
            return self.low, self.high
        values, counts = self.histogram.values()
        if self.method == "percentile":
            return _percentile(values, counts, self.low, self.high)
        return _least_error(values, counts, (self.low, self.high), scheme)


def _drawn(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some values of each sample, at places that its largest one decides: a stride would see some channels only."""
    size = rows.shape[1]
    return np.stack([row[np.random.default_rng(int(row.argmax())).integers(0, size, DRAWN)] for row in rows])


def _percentile(values: NDArray[np.float64], counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """What all but a ten-thousandth of the values on either side lie within."""
    below = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(below, (1 - PERCENTILE / 100, PERCENTILE / 100))
    return max(low, float(values[first])), min(high, float(values[last]))


def _least_error(
    values: NDArray[np.float64], counts: NDArray[np.int64], extremes: tuple[float, float], scheme: Scheme
) -> tuple[float, float]:
    """The shares of each side with the least mean squared error of rounding and clipping (arXiv:1810.05723)."""
    low, high = extremes

    def best(ranges: list[tuple[float, float]]) -> tuple[float, float]:
        return min(ranges, key=lambda each: _rounding_error(values, counts, affine(each[0], each[1], scheme), scheme))

    if scheme.symmetric:
        return best([(low * share, high * share) for share in SHARES])
    low, high = best([(low, high * share) for share in SHARES])
    return best([(low * share, high) for share in SHARES])


def _rounding_error(
    values: NDArray[np.float64], counts: NDArray[np.int64], parameters: Affine, scheme: Scheme
) -> float:
    low, high = (limit - parameters.zero_point for limit in scheme.activation_range)
    steps = values / parameters.scale
    error = np.clip(np.rint(steps), low, high) - steps
    return float(np.dot(counts, error * error)) * parameters.scale**2


def weight_scale(weight: NDArray[np.float32], axis: int, scheme: Scheme) -> NDArray[np.float32]:
    """One scale per channel of `axis` that maps the largest magnitude to ±weight_max."""
    largest = np.abs(weight).max(axis=_others(weight, axis)).astype(np.float64)
    scale: NDArray[np.float32] = np.maximum(largest / scheme.weight_max, MIN_WEIGHT_SCALE).astype(np.float32)
    return scale


def spare_bias(scale: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """Raise the scales of channels so dead that their bias, in units of input_scale · scale, would overflow int32."""
    floor = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
    return np.maximum(scale, floor).astype(np.float32)


def quantize_weight(
    weight: NDArray[np.float32], scale: NDArray[np.float32], axis: int, scheme: Scheme
) -> NDArray[np.int8]:
    """Nearest stored weights, ties to even, within ±weight_max."""
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = np.rint(weight.astype(np.float64) / scale.astype(np.float64).reshape(shape))
    return np.clip(steps, -scheme.weight_max, scheme.weight_max).astype(np.int8)


def quantize_bias(bias: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int32]:
    """Nearest int32 multiples of `scale`; `spare_bias` has made sure that they fit."""
    return np.rint(bias.astype(np.float64) / scale.astype(np.float64)).astype(np.int32)


def _others(array: NDArray[np.float32], axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(array.ndim) if i != axis)
