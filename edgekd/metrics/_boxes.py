"""Found boxes held against true ones as COCO's evaluation does, and average precision from what is right."""

from collections.abc import Sequence

import numpy as np

from edgekd.metrics._base import Array
from edgekd.metrics._takes import Takes

TAKES = Takes("N, K, 6", "N, M, 5")
RECALLS = np.linspace(0, 1, 101)  # where COCO reads precision
UNUSED = -1  # the class of a row that fills a sample up
CLASS, SCORE, FLAGS = 0, 1, 2  # columns of `held`


def held(found: Array, labels: Array, ious: Sequence[float]) -> Array:
    """Return rows (n, K + M, 2 + T) that `average_precision` takes: class, score and whether it is right at each IoU.

    Of boxes (n, K, 6), x1, y1, x2, y2, score and class, and true ones (n, M, 5); the latter have no score (NaN).
    """
    order = np.argsort(-found[..., 4], axis=1, kind="stable")
    best = np.take_along_axis(found, order[..., None], axis=1).astype(np.float64)
    rows = np.full((len(found), best.shape[1] + labels.shape[1], FLAGS + len(ious)), np.nan)
    boxes, truths = rows[:, : best.shape[1]], rows[:, best.shape[1] :]
    boxes[..., CLASS], boxes[..., SCORE], truths[..., CLASS] = best[..., 5], best[..., 4], labels[..., 4]
    boxes[..., FLAGS:] = _right(best, labels.astype(np.float64), np.asarray(ious, np.float64))
    return rows


def average_precision(rows: Array) -> float:
    """Return the mean over the classes that truths have, and over IoUs, of precision at 101 recalls; 0 without any."""
    flat = rows.reshape(-1, rows.shape[2])
    boxes, truths = flat[~np.isnan(flat[:, SCORE])], flat[np.isnan(flat[:, SCORE])]
    known = [number for number in np.unique(truths[:, CLASS]) if number != UNUSED]
    found = [_precision(boxes[boxes[:, CLASS] == number], int((truths[:, CLASS] == number).sum())) for number in known]
    return float(np.mean(found)) if found else 0.0


def overlap(one: Array, other: Array) -> Array:
    """Return intersection over union (…) of boxes (…, 4), x1, y1, x2, y2, broadcast; 0 where one has no area."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:4], other[..., 2:4])
    both = np.maximum(high - low, 0).prod(axis=-1)
    union = _area(one) + _area(other) - both
    share: Array = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return share


def _area(boxes: Array) -> Array:
    area: Array = np.maximum(boxes[..., 2:4] - boxes[..., :2], 0).prod(axis=-1)
    return area


def _right(boxes: Array, labels: Array, ious: Array) -> Array:
    """Which boxes (n, K, T) get a truth of their class: the surest first, each the nearest that is still free."""
    samples, levels = np.arange(len(labels))[:, None], np.arange(len(ious))
    right = np.zeros((*boxes.shape[:2], len(ious)), bool)
    if not labels.shape[1]:
        return right
    free = np.repeat((labels[..., 4] != UNUSED)[..., None], len(ious), axis=2)
    for place in range(boxes.shape[1]):
        box = boxes[:, place, None]
        near = np.where(box[..., 5] == labels[..., 4], overlap(box, labels), -1.0)[..., None]
        reached = np.where(free & (near >= ious), near, -1.0)
        nearest = reached.shape[1] - 1 - reached[:, ::-1].argmax(axis=1)  # of equal ones the last, as there
        right[:, place] = reached.max(axis=1) >= 0
        free[samples, nearest, levels] &= ~right[:, place]
    return right


def _precision(boxes: Array, truths: int) -> float:
    """The mean over IoUs of the highest precision that is still there at each recall, of one class."""
    right = boxes[np.argsort(-boxes[:, SCORE], kind="stable"), FLAGS:].cumsum(axis=0).T  # (T, boxes)
    precision = right / np.arange(1, right.shape[1] + 1)
    ceiling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.pad(ceiling, ((0, 0), (0, 1)))  # 0 beyond the last recall
    places = [np.searchsorted(level / truths, RECALLS, side="left") for level in right]
    return float(np.mean([level[place] for level, place in zip(reached, places, strict=True)]))
