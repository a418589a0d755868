"""Which values inputs take, and whether others are written in the same number format.

Pixels from 0 to 1 for a network that was trained on 0 to 255 compute without an error, and to nonsense.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import Range
from edgekd.data._picked import Picked
from edgekd.errors import BadInputError

NARROW = 1 / 64  # of the trained width: 0…1, or bits, where 0…255 was trained
BEYOND = 1.0  # trained widths beyond the trained extremes: other units
OUTLIERS = 1 / 8  # trained widths beyond them that pass without a word
OVERLAP = 1 / 2  # of what both cover from the 1st to the 99th percentile; with less of it they are spread differently
MOST_VALUES = 1_000_000  # that percentiles are taken from
OVERRIDE = "--any-range (any_range=True) takes it as it is"


@dataclass(frozen=True)
class Misfit:
    """What is odd about a range beside the trained one; `refused` where it is another number format."""

    reason: str
    refused: bool


def range_of(inputs: NDArray[Any] | Picked) -> Range:
    """Return extremes and percentiles of finite inputs (N, …), over all values; of many, percentiles of a draw."""
    p01, p99 = np.percentile(_drawn(inputs), [1, 99])
    low, high = inputs.extremes() if isinstance(inputs, Picked) else (float(inputs.min()), float(inputs.max()))
    return Range(low=low, p01=float(p01), p99=float(p99), high=high, samples=len(inputs))


def _drawn(inputs: NDArray[Any] | Picked) -> NDArray[Any]:
    if inputs.size <= MOST_VALUES:
        return inputs[:].reshape(-1)
    numbers = np.random.default_rng(0).integers(0, inputs.size, MOST_VALUES)
    return inputs.values(numbers) if isinstance(inputs, Picked) else inputs.reshape(-1)[numbers]


def misfit(found: Range, trained: Range) -> Misfit | None:
    """Return what is odd about values of range `found` for a model that knows `trained`; None where nothing is.

    Constants and single samples say too little of a format to be refused.
    """
    tells = min(found.samples, trained.samples) > 1 and found.width > 0 and trained.width > 0
    beyond = max(trained.low - found.low, found.high - trained.high)
    if beyond > BEYOND * trained.width:
        return Misfit(f"reaches beyond it by more than its width ({trained.width:.4g})", tells)
    if found.width <= NARROW * trained.width and found.middle <= NARROW * trained.middle:
        return Misfit("covers less than a 64th of it", tells)
    if beyond > OUTLIERS * trained.width:
        return Misfit("reaches beyond it", refused=False)
    shared = min(found.p99, trained.p99) - max(found.p01, trained.p01)
    if trained.middle and shared < OVERLAP * (max(found.p99, trained.p99) - min(found.p01, trained.p01)):
        return Misfit("is spread differently", refused=False)
    return None


def hold_against(
    found: Range, trained: Range, where: str, origin: str, warn: Callable[[str], None], any_range: bool = False
) -> None:
    """Raise BadInputError for inputs in another number format than was trained, warn of what only looks odd.

    `where` names the inputs, `origin` what they are held against; with `any_range` nothing is refused.
    """
    odd = misfit(found, trained)
    if odd is None:
        return
    line = f"{where} goes {found}, {origin} {trained}: it {odd.reason}"
    if odd.refused and not any_range:
        raise BadInputError(f"{line}; another number format? {OVERRIDE}")
    warn(line)
