"""From observed values to scales and zero points. Pure arithmetic; every scale is an exact float32."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from edgekd.quantization.scheme import Scheme

Method = Literal["minmax", "ema", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

MIN_ACTIVATION_SCALE = 1e-8
MIN_WEIGHT_SCALE = 1e-9
BIAS_LIMIT = 2.0**30
EMA_FLOOR = 0.01
PERCENTILE = 99.99
SHARES = np.linspace(1.0, 0.2, 33).tolist()  # of the full range, that a search tries
DRAWN = 8192  # values of a batch that it looks at
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
    """What calibration keeps of an edge's values: the extremes of each batch, and some values where a method asks."""

    method: Method
    extremes: list[tuple[float, float]] = field(default_factory=list)
    drawn: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: NDArray[np.float32]) -> None:
        """Watch one batch."""
        self.extremes.append((float(values.min()), float(values.max())))
        if self.method in {"percentile", "mse"}:
            flat = values.reshape(-1)  # a stride would see some channels only
            chosen = np.random.default_rng(len(self.drawn)).integers(0, flat.size, DRAWN)
            self.drawn.append(flat[chosen] if flat.size > DRAWN else flat)

    def range(self, scheme: Scheme) -> tuple[float, float]:
        """Their extremes, a moving average of these, a percentile on both sides, or what rounds with least error."""
        low, high = combine(self.extremes, "ema" if self.method == "ema" else "minmax")
        if not np.isfinite((low, high)).all() or not self.drawn:
            return low, high
        values = np.concatenate(self.drawn)
        if self.method == "percentile":
            low, high = np.percentile(values, (100 - PERCENTILE, PERCENTILE))
            return float(low), float(high)
        return _least_error(values, low, high, scheme)


def _least_error(values: NDArray[np.float32], low: float, high: float, scheme: Scheme) -> tuple[float, float]:
    """The shares of each side with the least mean squared error of rounding and clipping (arXiv:1810.05723)."""

    def best(ranges: list[tuple[float, float]]) -> tuple[float, float]:
        return min(ranges, key=lambda each: _rounding_error(values, affine(each[0], each[1], scheme), scheme))

    if scheme.symmetric:
        return best([(low * share, high * share) for share in SHARES])
    low, high = best([(low, high * share) for share in SHARES])
    return best([(low * share, high) for share in SHARES])


def _rounding_error(values: NDArray[np.float32], parameters: Affine, scheme: Scheme) -> float:
    low, high = (limit - parameters.zero_point for limit in scheme.activation_range)
    steps = values / np.float32(parameters.scale)
    error = np.clip(np.rint(steps), low, high) - steps
    return float(np.dot(error, error)) * parameters.scale**2


def combine(ranges: Sequence[tuple[float, float]], method: Method) -> tuple[float, float]:
    """Range over batches: the widest for `minmax`, else a mean that turns into a moving average."""
    lows, highs = zip(*ranges, strict=True)
    if method == "minmax":
        return min(lows), max(highs)
    low, high = 0.0, 0.0
    for count, (batch_low, batch_high) in enumerate(ranges):
        weight = max(1 / (count + 1), EMA_FLOOR)
        low, high = low + weight * (batch_low - low), high + weight * (batch_high - high)
    return low, high


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
