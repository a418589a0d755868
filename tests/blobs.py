"""A data set that tiny networks learn in seconds."""

import numpy as np

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split


def blobs(samples: int = 192, seed: int = 0) -> Dataset:
    """uint8 images (N, 1, 8, 8) in three classes: one bright corner per class, under noise."""
    random = np.random.default_rng(seed)

    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % 3
        images = random.integers(0, 120, (count, 1, 8, 8))
        for label, (row, column) in enumerate(((0, 0), (0, 4), (4, 0))):
            images[labels == label, :, row : row + 4, column : column + 4] += 60
        return Split(images.astype(np.uint8), labels)

    preprocessing = Preprocessing(scale=1 / 255, mean=(0.25,), std=(0.15,))
    return Dataset("blobs", split(samples), split(60), split(60), ("a", "b", "c"), preprocessing)
