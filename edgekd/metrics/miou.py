"""Mean intersection over union of classes, of pixels or any other positions."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes


def metric(ignore: int = 255) -> Metric:
    """Return the mean over classes that labels or outputs show, of logits (N, C, …) and classes (N, …).

    Positions with the label `ignore` do not count, nor does that class: where it is put out, another one is missed.
    """
    return Metric(
        "miou",
        lambda logits, labels: _areas(logits, labels, ignore),
        lambda rows: _mean(rows, ignore),
        takes=Takes("N, C, …", "N, …", "class", ignore),
    )


def _areas(logits: Array, labels: Array, ignore: int) -> Array:
    """Per sample and class: the positions that both have, that the outputs have, and that the labels have."""
    classes = logits.shape[1]
    found, wanted = (values.reshape(len(values), -1) for values in (logits.argmax(axis=1), labels))
    known = wanted != ignore
    return np.stack(
        [
            _count(values, where, classes)
            for values, where in ((wanted, known & (found == wanted)), (found, known), (wanted, known))
        ],
        axis=1,
    )


def _count(values: Array, where: Array, classes: int) -> Array:
    samples = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    places = samples[where] * classes + values[where].astype(np.int64)
    return np.bincount(places, minlength=len(values) * classes).reshape(len(values), classes)


def _mean(rows: Array, ignore: int) -> float:
    both, found, wanted = rows.sum(axis=0)
    union = np.where(np.arange(rows.shape[2]) == ignore, 0, found + wanted - both)
    return float(np.mean(both[union > 0] / union[union > 0])) if union.any() else 0.0
