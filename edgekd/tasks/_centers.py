"""A centre head in numpy: C heat maps of logits, then width, height, and x and y in the cell, all in cells.

What a device puts out is decoded on the host, by the code that scored the network.
"""

from itertools import product

import numpy as np

from edgekd.tasks._base import Array

EDGES = 4  # numbers that a box has
UNUSED = -1  # the class of a row that fills a sample up
RAREST = 1e-4  # how often a centre is at least expected in a cell


def decoded(outputs: Array, stride: int, top_k: int) -> Array:
    """Return the `top_k` surest boxes (N, K, 6), x1, y1, x2, y2 in pixels, score, class; what is no peak has class -1.

    Of outputs (N, C + 4, H, W) with cells of `stride` pixels.
    """
    heat, cells = outputs[:, :-EDGES], outputs[:, -EDGES:].reshape(len(outputs), EDGES, -1)
    logits = np.where(_peaks(heat), heat, -np.inf).reshape(len(outputs), -1)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    number, place = np.divmod(best, cells.shape[2])
    width, height, across, down = np.take_along_axis(cells, place[:, None], axis=2).swapaxes(0, 1)
    row, column = np.divmod(place, heat.shape[3])
    middle, half = np.stack([column + across, row + down]), np.maximum(np.stack([width, height]), 0) / 2
    found = np.take_along_axis(logits, best, axis=1)
    classes = np.where(np.isfinite(found), number, UNUSED)
    corners = stride * np.concatenate([middle - half, middle + half])
    with np.errstate(over="ignore"):
        score = 1 / (1 + np.exp(-found))
    return np.stack([*corners, score, classes], axis=2).astype(np.float32)


def usual(labels: Array, stride: int) -> Array:
    """Return outputs (C + 4, H, W) that say how often each cell of labels (N, M, 5) is a centre, and the mean box."""
    boxes = labels[labels[..., 4] != UNUSED]
    if not len(boxes):
        boxes = np.array([[0, 0, stride, stride, 0]], np.float32)
    width, height = np.ceil(boxes[:, 2:4].max(axis=0) / stride).astype(int)
    column, row = ((boxes[:, :2] + boxes[:, 2:4]) / 2 // stride).astype(int).T
    classes = boxes[:, 4].astype(int)
    rate = np.zeros((classes.max() + 1, height, width))
    np.add.at(rate, (classes, row, column), 1 / max(1, len(labels)))
    rate = rate.clip(RAREST, 1 - RAREST)
    size = (boxes[:, 2:4] - boxes[:, :2]).mean(axis=0) / stride
    box = np.broadcast_to([[[size[0]]], [[size[1]]], [[0.5]], [[0.5]]], (EDGES, height, width))
    return np.concatenate([np.log(rate / (1 - rate)), box]).astype(np.float32)


def _peaks(heat: Array) -> Array:
    """Return where (…, H, W) no neighbour is higher; of equal ones, which int8 has, the first is the peak."""
    height, width = heat.shape[-2:]
    around = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    peaks = np.ones(heat.shape, bool)
    for down, right in product(range(3), range(3)):
        neighbour = around[..., down : down + height, right : right + width]
        peaks &= heat > neighbour if (down, right) < (1, 1) else heat >= neighbour
    return peaks
