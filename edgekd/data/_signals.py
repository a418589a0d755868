"""What differs between two wearers of the same sensor: how it sits (rotation in Um et al., arXiv:1706.00527)."""

import numpy as np

from edgekd.data._counter import Words, uniform
from edgekd.data.dataset import Array
from edgekd.errors import BadInputError

ANGLE = np.pi / 4  # the largest turn


def rotate3d(signals: Array, words: Words) -> Array:
    """Turn the sensor by up to 45° about any axis; channels (N, 3k, T) are triples x, y, z of one device."""
    count, channels, length = signals.shape
    if channels % 3:
        raise BadInputError(f"augmentation 'rotate3d' needs triples of channels x, y, z, not {channels} channels")
    triples = signals.reshape(count, channels // 3, 3, length)
    return (_rotations(words)[:, None] @ triples).reshape(signals.shape).astype(signals.dtype)


def _rotations(words: Words) -> Array:
    """(N, 3, 3) about axes uniform on the sphere, by angles uniform within ±ANGLE (Rodrigues' formula)."""
    height, turn, angle = 2 * uniform(words, 0) - 1, 2 * np.pi * uniform(words, 1), ANGLE * (2 * uniform(words, 2) - 1)
    radius = np.sqrt(1 - height**2)
    x, y, z = radius * np.cos(turn), radius * np.sin(turn), height
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    rotations: Array = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return rotations
