"""Numbers to predict from signals: put your data and your networks here."""

import numpy as np
from torch import nn


def data():
    """Return ((x_train, y_train), (x_test, y_test)): float32 signals (N, channels, time), float32 numbers (N, k)."""
    random = np.random.default_rng(0)
    numbers = random.uniform(-1, 1, (1200, 1)).astype(np.float32)
    waves = np.sin(np.arange(64) / 4 + random.uniform(0, 6.28, (1200, 3, 1)))
    signals = (waves * (1.5 + numbers[:, :, None]) + random.normal(0, 0.2, (1200, 3, 64))).astype(np.float32)
    return (signals[:1000], numbers[:1000]), (signals[1000:], numbers[1000:])


def teacher(channels):
    """Return the large network; its weights: `checkpoint` in the recipe."""
    return network(channels, width=64)


def student(channels):
    """Return the small network."""
    return network(channels, width=8)


def network(channels, width):
    """Return any torch.nn.Module from signals to numbers (N, k)."""
    first = [nn.Conv1d(channels, width, 5, 2, 2), nn.BatchNorm1d(width), nn.ReLU()]
    second = [nn.Conv1d(width, 2 * width, 5, 2, 2), nn.BatchNorm1d(2 * width), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, 1))
