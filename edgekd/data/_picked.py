"""Some rows of an array, such as nine in ten of a mapped file: what is not indexed is not copied."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LARGE = 16 << 20  # bytes of an array from which a part of it is no copy
PART_BYTES = 64 << 20  # that are copied at once where all rows are looked at
AT_ONCE = 1 << 16  # values that are looked up together


@dataclass(frozen=True, eq=False)
class Picked:
    """The rows of `array` (N, …) at `places`, in that order, in the place of an array."""

    array: Array
    places: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …)."""
        return len(self.places), *self.array.shape[1:]

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Array:
        """Copy rows, given by numbers or as a slice."""
        found: Array = self.array[self.places[rows]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Copy all of them."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def subset(self, rows: Array) -> "Picked":
        """The rows at these numbers, uncopied."""
        return replace(self, places=self.places[rows])

    def parts(self) -> Iterator[Array]:
        """All rows, some at a time."""
        rows = max(1, PART_BYTES * len(self.array) // self.array.nbytes)
        return (self[start : start + rows] for start in range(0, len(self), rows))

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        ends = [(float(part.min()), float(part.max())) for part in self.parts()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def values(self, numbers: Array) -> Array:
        """Values by their numbers among all, row after row."""
        found = np.empty(len(numbers), self.dtype)
        for start in range(0, len(numbers), AT_ONCE):
            row, *within = np.unravel_index(numbers[start : start + AT_ONCE], self.shape)
            found[start : start + AT_ONCE] = self.array[(self.places[row], *within)]
        return found
