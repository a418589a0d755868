"""Random numbers from a counter, not from a stream: whoever asks again, in any order, gets the same.

The splitmix64 finaliser (Steele et al., OOPSLA 2014) hashes the coordinates of what is drawn.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from edgekd.data.dataset import Array

Words = NDArray[np.uint64]


def random_words(seed: int, indices: Array, view: int, stream: str) -> Words:
    """64 random bits per index, independent between seeds, views and named streams."""
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    words = np.full(len(indices), name, np.uint64)
    for coordinate in (np.uint64(seed), np.uint64(view), indices.astype(np.uint64)):
        words = _mix(words + coordinate)
    return words


def below(words: Words, bound: int) -> NDArray[np.intp]:
    """Integers in 0…bound-1 from the low 32 bits; biased by less than bound / 2³²."""
    return (((words & np.uint64(0xFFFFFFFF)) * np.uint64(bound)) >> np.uint64(32)).astype(np.intp)


def uniform(words: Words, draw: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) from all 64 bits; each `draw` gives others."""
    return (_mix(words + np.uint64(draw)) >> np.uint64(11)) / 2.0**53


def _mix(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
