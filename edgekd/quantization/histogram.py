"""Counts of values that are the same in whatever order and batches the values come."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 15
_HALF = BINS // 2
_SMALLEST = -140  # exponent of the narrowest range: below it are float32's subnormal numbers


@dataclass
class Histogram:
    """A fixed number of bins around zero, whose width, a power of two, grows with the largest value."""

    exponent: int = _SMALLEST
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values."""
        exponent = int(np.frexp(np.abs(values).max(initial=0.0))[1])
        if exponent > self.exponent:
            self._widen(exponent - self.exponent)
            self.exponent = exponent
        bins = np.floor(np.ldexp(values.astype(np.float64), _HALF.bit_length() - 1 - self.exponent)).astype(np.int64)
        self.counts += np.bincount(bins.ravel() + _HALF, minlength=BINS)

    def values(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the centres of the bins that hold something, and how many values each holds."""
        (filled,) = np.nonzero(self.counts)
        width = 2.0 ** (self.exponent + 1 - _HALF.bit_length())
        centres = np.asarray((filled - _HALF + 0.5) * width, np.float64)
        return centres, self.counts[filled]

    def _widen(self, doublings: int) -> None:
        """Merge each 2**doublings neighbours into one: exact, since wider bins end where narrower ones do."""
        (filled,) = np.nonzero(self.counts)
        merged = ((filled - _HALF) >> doublings) + _HALF
        self.counts = np.bincount(merged, self.counts[filled], minlength=BINS).astype(np.int64)
