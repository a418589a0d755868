"""Test samples that a network was taught: what they score is memory, not skill."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import _picked
from edgekd.data._picked import Picked

Array = NDArray[Any]

WINDOW = 64  # bytes in the middle of a sample that are compared first
WORTH_TELLING = 0.01  # of a split: well-known data sets have some


def twins(samples: Array | Picked, others: Array | Picked, group: int = 1) -> int:
    """Return how many groups of neighbours in `samples` (N, …) are among those of `others`, byte for byte."""
    if samples.dtype != others.dtype or samples.shape[1:] != others.shape[1:]:
        return 0
    middles = {key for block in _blocks(samples, group) for key in _middles(block)}
    known = {
        _digest(row)
        for block in _blocks(others, group)
        for row, key in zip(block, _middles(block), strict=True)
        if key in middles
    }
    return sum(_digest(row) in known for block in _blocks(samples, group) for row in block) if known else 0


def _blocks(inputs: Array | Picked, group: int) -> Iterator[Array]:
    """All groups as bytes (n, …), some at a time."""
    rows = group * max(1, _picked.PART_BYTES * len(inputs) // (group * inputs.size * inputs.dtype.itemsize))
    for start in range(0, len(inputs), rows):
        part = np.ascontiguousarray(inputs[start : start + rows])
        yield part.reshape(len(part) // group, -1).view(np.uint8)


def _middles(block: Array) -> list[bytes]:
    start = max(0, (block.shape[1] - WINDOW) // 2)
    window = np.ascontiguousarray(block[:, start : start + WINDOW])
    found: list[bytes] = window.view(f"V{window.shape[1]}")[:, 0].tolist()
    return found


def _digest(row: Array) -> bytes:
    return hashlib.blake2b(row.data, digest_size=16).digest()
