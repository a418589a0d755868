"""Signals of sensors or sound, each of one class: put your data and your networks here."""

import numpy as np
from torch import nn


def data():
    """Return ((x_train, y_train), (x_test, y_test)): float32 signals (N, channels, time), class numbers (N,)."""
    random, labels = np.random.default_rng(0), np.arange(1200) % 4
    phase = random.uniform(0, 6.28, (1200, 3, 1)) + np.arange(64) * (1 + labels)[:, None, None] / 8
    signals = (np.sin(phase) + random.normal(0, 0.7, (1200, 3, 64))).astype(np.float32)
    return (signals[:1000], labels[:1000]), (signals[1000:], labels[1000:])


def teacher(classes, channels):
    """Return the large network; its weights: `checkpoint` in the recipe."""
    return network(classes, channels, width=64)


def student(classes, channels):
    """Return the small network."""
    return network(classes, channels, width=8)


def network(classes, channels, width):
    """Return any torch.nn.Module from signals to logits (N, classes)."""
    first = [nn.Conv1d(channels, width, 5, 2, 2), nn.BatchNorm1d(width), nn.ReLU()]
    second = [nn.Conv1d(width, 2 * width, 5, 2, 2), nn.BatchNorm1d(2 * width), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, classes))
