"""The data set that tiny networks learn in seconds, and networks to learn it."""

import pytest
import torch
from torch import nn

from edgekd.recipe import Data
from tests.blobs import blobs as make_blobs


@pytest.fixture(autouse=True)
def exact_on_a_gpu():
    torch.backends.cudnn.allow_tf32 = False  # on a GPU too, float32 is float32


@pytest.fixture
def blobs():
    """(train samples, seed) -> the data set."""
    return make_blobs


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
