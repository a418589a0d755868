"""A data set that tiny networks learn in seconds, and networks to learn it."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.recipe import Data


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def blobs():
    """(train samples, classes=3) -> uint8 images (N, 1, 8, 8): one bright corner per class, under noise."""

    def make(samples=192, seed=0):
        random = np.random.default_rng(seed)

        def split(count):
            labels = np.arange(count, dtype=np.int64) % 3
            images = random.integers(0, 120, (count, 1, 8, 8))
            for label, (row, column) in enumerate(((0, 0), (0, 4), (4, 0))):
                images[labels == label, :, row : row + 4, column : column + 4] += 60
            return Split(images.astype(np.uint8), labels)

        preprocessing = Preprocessing(scale=1 / 255, mean=(0.25,), std=(0.15,))
        return Dataset("blobs", split(samples), split(60), split(60), ("a", "b", "c"), preprocessing)

    return make


@pytest.fixture
def recipe_data():
    return Data(name="blobs", augmentation=("crop",), views=2)


@pytest.fixture
def network():
    """(width, seed) -> a small network with batch norm and dropout."""

    def make(width=4, seed=0):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Dropout(0.1),
            nn.Flatten(),
            nn.Linear(16 * width, 3),
        )

    return make
