"""Recall@k of retrieval: how often one of the k nearest other samples has a sample's label."""

import numpy as np

from edgekd.metrics._base import Array, Metric
from edgekd.metrics._takes import Takes

CHUNK = 1024  # queries at once: their similarities to all are CHUNK × N


def metric(k: int = 1) -> Metric:
    """Return it by cosine, of embeddings (N, D) and labels (N,); a label that no other sample has does not count."""
    return Metric(
        f"recall_at_{k}",
        _unit,
        lambda rows: _mean(rows, k),
        error=lambda rows: _error(rows, k),
        takes=Takes("N, D", "N", "class"),
    )


def nearest(unit: Array, k: int) -> Array:
    """Return the places (N, k) of the nearest others of rows (N, D) of length 1."""
    found = []
    for start in range(0, len(unit), CHUNK):
        alike = unit[start : start + CHUNK] @ unit.T
        alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = -np.inf  # itself
        found.append(np.argpartition(-alike, min(k, len(unit)) - 1, axis=1)[:, :k])
    return np.concatenate(found)


def unit_rows(embeddings: Array) -> Array:
    """Return embeddings (N, D) of length 1."""
    rows: Array = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return rows


def _unit(embeddings: Array, labels: Array) -> Array:
    return np.concatenate([unit_rows(embeddings), labels[:, None]], axis=1)


def _hits(rows: Array, k: int) -> Array:
    labels = rows[:, -1]
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    hits = (labels[nearest(rows[:, :-1], k)] == labels[:, None]).any(axis=1)
    shared: Array = hits[counts[place] > 1]
    return shared


def _mean(rows: Array, k: int) -> float:
    hits = _hits(rows, k)
    return float(hits.mean()) if len(hits) else 0.0


def _error(rows: Array, k: int) -> float:
    hits = _hits(rows, k)
    return float(hits.std() / len(hits) ** 0.5) if len(hits) else 0.0
