"""Images, each of one class: put your data and your networks here."""

import numpy as np
from torch import nn


def data():
    """Return ((x_train, y_train), (x_test, y_test)): uint8 images (N, channels, height, width), class numbers (N,)."""
    random, labels = np.random.default_rng(0), np.arange(1200) % 4
    patterns = random.integers(0, 160, (4, 1, 16, 16))
    images = (patterns[labels] + random.normal(48, 40, (1200, 1, 16, 16))).clip(0, 255).astype(np.uint8)
    return (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def teacher(classes, channels):
    """Return the large network; its weights: `checkpoint` in the recipe."""
    return network(classes, channels, width=32)


def student(classes, channels):
    """Return the small network."""
    return network(classes, channels, width=8)


def network(classes, channels, width):
    """Return any torch.nn.Module from images to logits (N, classes)."""
    first = [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    second = [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))
