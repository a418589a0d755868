"""Mean average precision of labels: how well each label's samples are ranked before the others."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes


def metric() -> Metric:
    """Return the mean, over the labels that some sample has, of the area under precision over recall.

    Of scores and labels 0 or 1, both (N, C). Equal scores share one threshold.
    """
    return Metric(
        "mean_ap", lambda scores, labels: np.stack([scores, labels], axis=1), _mean, takes=Takes("N, L", "N, L", "flag")
    )


def _mean(rows: Array) -> float:
    scores, labels = rows[:, 0], rows[:, 1] > 0
    found = [_average_precision(scores[:, label], labels[:, label]) for label in np.flatnonzero(labels.any(axis=0))]
    return float(np.mean(found)) if found else 0.0


def _average_precision(scores: Array, labels: Array) -> float:
    """Σ over thresholds of (recall − the recall before) × precision."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of those with one score
    right = np.cumsum(labels[order])[last]
    given = np.arange(1, len(scores) + 1)[last]
    return float(np.sum(np.diff(right, prepend=0) / right[-1] * right / given))
