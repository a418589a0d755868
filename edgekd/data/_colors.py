"""What differs between two cameras and two hours of a day: light, contrast and the balance of colours."""

import numpy as np

from edgekd.data._counter import Words, uniform
from edgekd.data.dataset import Array

LIGHT, CONTRAST, BALANCE = 0.25, 0.3, 0.1  # the largest natural logarithm of each factor


def color_jitter(images: Array, words: Words) -> Array:
    """Change light, contrast and each channel's share of images (N, C, H, W), each by a factor of its own.

    Contrast is about the image's mean. Integers are rounded and stay in their type's range.
    """
    light, contrast = np.exp(LIGHT * _signed(words, 0)), np.exp(CONTRAST * _signed(words, 1))
    balance = np.exp(BALANCE * np.stack([_signed(words, 2 + channel) for channel in range(images.shape[1])], axis=1))
    middle = np.array([image.mean(dtype=np.float64) for image in images])  # each alone: the same in any batch
    factor, middle, contrast = (
        values.reshape(len(images), -1, 1, 1).astype(np.float32)
        for values in (light[:, None] * balance, middle, contrast)
    )
    changed = factor * (middle + contrast * (images - middle))
    if images.dtype.kind in "iu":
        known = np.iinfo(images.dtype)
        changed = np.rint(changed).clip(known.min, known.max)
    return changed.astype(images.dtype)


def _signed(words: Words, draw: int) -> Array:
    return 2 * uniform(words, draw) - 1
