"""Augmentation that depends on (seed, index, view) alone: a replayed step sees the same samples, whatever its batch."""

from collections.abc import Callable, Sequence

import numpy as np

from edgekd.data._counter import Words, below, random_words
from edgekd.data._signals import rotate3d
from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.plugins import nearest


def augment(samples: Array, names: Sequence[str], seed: int, indices: Array, view: int) -> Array:
    """Changed copies of images (N, C, H, W) or signals (N, C, T); `indices` (N,) are their places in the train split.

    Raises BadInputError for an unknown name or for inputs that it does not fit.
    """
    check_names(names)
    for name in names:
        wanted, axes = ("images (N, C, H, W)", 4) if name in IMAGES else ("signals (N, C, T)", 3)
        if samples.ndim != axes:
            raise BadInputError(f"augmentation {name!r} needs {wanted}, not inputs of shape {samples.shape}")
        samples = AUGMENTATIONS[name](samples, random_words(seed, indices, view, name))
    return samples


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
    down, right = below(words >> np.uint64(32), 2 * margins[0] + 1), below(words, 2 * margins[1] + 1)
    shifted: Array = windows[np.arange(len(images)), :, down, right]
    return shifted


def flip(images: Array, words: Words) -> Array:
    """Mirror half of the images horizontally."""
    mirrored = images.copy()
    chosen = words >> np.uint64(63) == 1
    mirrored[chosen] = images[chosen, ..., ::-1]
    return mirrored


Augmentation = Callable[[Array, Words], Array]

IMAGES: dict[str, Augmentation] = {"crop": crop, "flip": flip}
SIGNALS: dict[str, Augmentation] = {"rotate3d": rotate3d}
AUGMENTATIONS = IMAGES | SIGNALS
