"""Augmentation that depends on (seed, index, view) alone: a replayed step sees the same pixels, whatever its batch.

Random numbers come from a counter, not from a stream: the splitmix64 finaliser (Steele et al., OOPSLA 2014) hashes
each image's coordinates, so an epoch cut short or cut differently into batches repeats exactly.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.plugins import nearest

Words = NDArray[np.uint64]


def augment(images: Array, names: Sequence[str], seed: int, indices: Array, view: int) -> Array:
    """Changed copies of `images` (N, C, H, W), any dtype; `indices` (N,) are their places in the training split.

    Raises BadInputError for an unknown name or for inputs that are not images.
    """
    check_names(names)
    for name in names:
        if images.ndim != 4:
            raise BadInputError(f"augmentation {name!r} needs images (N, C, H, W), not inputs of shape {images.shape}")
        images = AUGMENTATIONS[name](images, random_words(seed, indices, view, name))
    return images


def check_names(names: Sequence[str]) -> None:
    """Raise BadInputError, with the nearest name, unless every augmentation exists."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise BadInputError(f"unknown augmentation {name!r}{nearest(name, AUGMENTATIONS)}")


def crop(images: Array, words: Words) -> Array:
    """Shift by up to 2 pixels (an eighth of the side above 32 pixels) on each axis; what enters is zero."""
    height, width = images.shape[2:]
    margins = [2 if side <= 32 else side // 8 for side in (height, width)]
    padded = np.pad(images, ((0, 0), (0, 0), *((margin, margin) for margin in margins)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = _below(words >> np.uint64(32), 2 * margins[0] + 1), _below(words, 2 * margins[1] + 1)
    shifted: Array = windows[np.arange(len(images)), :, down, right]
    return shifted


def flip(images: Array, words: Words) -> Array:
    """Mirror half of the images horizontally."""
    mirrored = images.copy()
    chosen = words >> np.uint64(63) == 1
    mirrored[chosen] = images[chosen, ..., ::-1]
    return mirrored


AUGMENTATIONS: dict[str, Callable[[Array, Words], Array]] = {"crop": crop, "flip": flip}


def random_words(seed: int, indices: Array, view: int, stream: str) -> Words:
    """64 random bits per index, independent between seeds, views and named streams."""
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    words = np.full(len(indices), name, np.uint64)
    for coordinate in (np.uint64(seed), np.uint64(view), indices.astype(np.uint64)):
        words = _mix(words + coordinate)
    return words


def _mix(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _below(words: Words, bound: int) -> NDArray[np.intp]:
    """Integers in 0…bound-1 from the low 32 bits; biased by less than bound / 2³²."""
    return (((words & np.uint64(0xFFFFFFFF)) * np.uint64(bound)) >> np.uint64(32)).astype(np.intp)
