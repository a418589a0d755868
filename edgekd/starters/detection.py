"""Images with boxes: put your data and your networks here."""

import numpy as np
from torch import nn


def data():
    """Return ((x_train, y_train), (x_test, y_test)): uint8 images (N, channels, H, W), boxes (N, M, 5)."""
    random = np.random.default_rng(0)
    middle, half = random.uniform(12, 36, (900, 2)), random.uniform(5, 11, (900, 1))
    apart = np.abs(np.mgrid[:48, :48] + 0.5 - middle[:, ::-1, None, None]).max(1)
    images = 60 + 130 * (apart < half[:, :, None])[:, None] + random.normal(0, 25, (900, 1, 48, 48))
    images = images.clip(0, 255).astype(np.uint8)
    # x1, y1, x2, y2 in pixels and the class, which is -1 in rows that an image does not need
    boxes = np.hstack([middle - half, middle + half, np.zeros((900, 1))])[:, None]
    return (images[:800], boxes[:800]), (images[800:], boxes[800:])


def teacher(classes, channels):
    """Return the large network; its weights: `checkpoint` in the recipe."""
    return network(classes, channels, width=24)


def student(classes, channels):
    """Return the small network."""
    return network(classes, channels, width=8)


def network(classes, channels, width):
    """Return any torch.nn.Module from images to a centre head (N, classes, H / 8, W / 8), the box's 4 included."""
    half = [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    quarter = [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()]
    eighth = [nn.Conv2d(2 * width, 4 * width, 3, 2, 1), nn.BatchNorm2d(4 * width), nn.ReLU()]
    return nn.Sequential(*half, *quarter, *eighth, nn.Conv2d(4 * width, classes, 1))
