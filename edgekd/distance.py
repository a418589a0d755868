"""How far two arrays are apart: in steps, in decibels, and in what they decide."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.runner.judge import agreement, p999

Array = NDArray[Any]


@dataclass(frozen=True)
class Steps:
    """Of elements: the furthest, in steps, the 99.9th percentile, and the share that rounds to the reference's step."""

    max: float
    p999: float
    exact: float

    @classmethod
    def of(cls, apart: NDArray[np.float64]) -> "Steps":
        """Sum up what `steps_apart` found."""
        return cls(float(apart.max()), p999(apart), float(np.mean(apart < 0.5)))


def steps_apart(output: Array, reference: Array, step: float) -> NDArray[np.float64]:
    """Distance of each element from the reference, in steps."""
    distance: NDArray[np.float64] = np.abs(output.astype(np.float64) - reference.astype(np.float64)) / step
    return distance


def clear_agreement(output: Array, reference: Array, unit: float) -> float | None:
    """Share of equal argmaxes among inputs that the reference decides by more than 4 units; None if there are none.

    Of what is known to be scores of classes (N, C); None of those of other shapes, as of each pixel.
    """
    return agreement(reference, output, unit) if reference.ndim == 2 else None


def sqnr(output: Array, reference: Array) -> float | None:
    """Signal to quantisation noise in dB; None for equal arrays."""
    noise = float(np.sum((output.astype(np.float64) - reference) ** 2))
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    return 10 * float(np.log10(max(signal, 1e-300) / noise)) if noise else None
