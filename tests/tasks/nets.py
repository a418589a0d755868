"""Small networks and data for every task: learned in seconds, made of seeds."""

from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.recipe import Training

Array = np.ndarray[Any, Any]
QUICK = Training(epochs=6, batch=32, optimizer="adamw", learning_rate=0.01, precision="float32")
FINE = Training(epochs=1, batch=32, optimizer="adamw", learning_rate=0.001, precision="float32")


def squares(count: int, seed: int, side: int = 12) -> tuple[Array, Array]:
    """Images uint8 (N, 1, side, side) with one bright rectangle, and its box (N, 4): x, y, width, height in pixels."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, 1, side, side), dtype=np.uint8)
    boxes = np.zeros((count, 4), np.int64)
    for image, box in zip(images, boxes, strict=True):
        width, height = random.integers(3, 7, 2)
        x, y = random.integers(0, side - width + 1), random.integers(0, side - height + 1)
        image[0, y : y + height, x : x + width] = random.integers(150, 250)
        box[:] = x, y, width, height
    return images, boxes


def vector_net(width: int, outputs: int, seed: int = 0) -> nn.Module:
    """(N, 1, 12, 12) to (N, outputs)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(36 * width, outputs),
    )  # fmt: skip


def map_net(width: int, outputs: int, seed: int = 0) -> nn.Module:
    """(N, 1, 12, 12) to (N, outputs, 12, 12)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, outputs, 1),
    )  # fmt: skip
