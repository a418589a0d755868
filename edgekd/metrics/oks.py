"""Object keypoint similarity, as COCO's: exp(−d² / (2 · area · (2σ)²)), the mean over a sample's visible points."""

from collections.abc import Sequence

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics.pck import box, distances, share


def metric(sigma: float | Sequence[float] = 0.05, size: float | None = None) -> Metric:
    """Return the mean over samples with a visible point, of points (N, K, 2) and labels (N, K, 3).

    `sigma` is how exactly people place a point, for all or for each; the area is that of the box around the sample's
    visible points or `size`².
    """
    return Metric("oks", lambda points, labels: _similar(points, labels, np.asarray(sigma), size), share)


def _similar(points: Array, labels: Array, sigma: Array, size: float | None) -> Array:
    apart, seen = distances(points, labels)
    area = box(labels).prod(axis=1) if size is None else np.full(len(labels), size**2)
    some = seen.any(axis=1)
    exponent = np.square(apart) / (2 * np.square(2 * sigma) * (np.where(some, area, 1)[:, None] + np.spacing(1)))
    mean = np.where(seen, np.exp(-exponent), 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.stack([mean, some], axis=1)
