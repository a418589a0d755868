"""Percentage of correct keypoints: the share of visible points found within a share of the object's size."""

import numpy as np

from edgekd.metrics._base import Array, Metric


def metric(threshold: float = 0.1, size: float | None = None) -> Metric:
    """Return it, of points (N, K, 2) and labels (N, K, 3): x, y and whether the point is visible; (N, K, 2): all are.

    A point is right within `threshold` × `size` or, without one, × the longer side of the box around the sample's
    visible points.
    """
    return Metric("pck", lambda points, labels: _right(points, labels, threshold, size), share)


def distances(points: Array, labels: Array) -> tuple[Array, Array]:
    """Return how far each point is, (N, K), and which are visible, (N, K) bool."""
    if labels.ndim != 3 or points[0].size != 2 * labels.shape[1]:
        raise ValueError("points are (N, K, 2) or (N, 2K), with labels (N, K, 2) or (N, K, 3)")
    apart = points.reshape(*labels.shape[:2], 2).astype(np.float64) - labels[..., :2]
    return np.sqrt(np.square(apart).sum(axis=2)), visible(labels)


def visible(labels: Array) -> Array:
    """Return which points (N, K) are, all where labels (N, K, 2) do not say."""
    seen: Array = labels[..., 2] > 0 if labels.shape[2] > 2 else np.ones(labels.shape[:2], bool)
    return seen


def box(labels: Array) -> Array:
    """Return width and height (N, 2) of the box around each sample's visible points; NaN where there are none."""
    seen = np.where(visible(labels)[..., None], labels[..., :2], np.nan).astype(np.float64)
    low, high = (
        fill(seen, axis=1, initial=edge, where=~np.isnan(seen)) for fill, edge in ((np.min, np.inf), (np.max, -np.inf))
    )
    return np.where(np.isfinite(high - low), high - low, np.nan)


def share(rows: Array) -> float:
    """Return what the first column sums up to, of the second."""
    found, counted = rows.sum(axis=0)
    return float(found / counted) if counted else 0.0


def _right(points: Array, labels: Array, threshold: float, size: float | None) -> Array:
    apart, seen = distances(points, labels)
    longer = box(labels).max(axis=1) if size is None else np.full(len(labels), size)
    right = seen & (apart <= threshold * longer[:, None])
    return np.stack([right.sum(axis=1), seen.sum(axis=1)], axis=1)
