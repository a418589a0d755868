"""Metrics of points and of neighbours, against their definitions in plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.metrics import oks, pck, recall_at_k

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_points_are_scored_as_coco_does(seed: int) -> None:
    """OKS is computeOks of pycocotools, its area that of the box; sums in another order."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([random.uniform(0, 20, (5, 4, 2)), random.integers(0, 2, (5, 4, 1))], axis=2)
    points = labels[..., :2] + random.normal(scale=1.5, size=(5, 4, 2))
    similar, right, counted = [], 0, 0
    for found, wanted in zip(points, labels, strict=True):
        seen = [k for k in range(4) if wanted[k][2]]
        if not seen:
            continue
        width, height = (max(wanted[k][axis] for k in seen) - min(wanted[k][axis] for k in seen) for axis in (0, 1))
        squares = [sum((found[k][axis] - wanted[k][axis]) ** 2 for axis in (0, 1)) for k in seen]
        right += sum(math.sqrt(square) <= 0.1 * max(width, height) for square in squares)
        counted += len(seen)
        spread = (2 * 0.05) ** 2 * (width * height + np.spacing(1)) * 2
        similar.append(sum(math.exp(-square / spread) for square in squares) / len(seen))
    if counted:
        assert pck.metric()(points, labels) == pytest.approx(right / counted)
        assert oks.metric()(points.reshape(5, 8), labels) == pytest.approx(sum(similar) / len(similar))


@given(SEEDS, st.integers(1, 3))
def test_neighbours_are_counted_by_their_definition(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    vectors, labels = random.normal(size=(12, 3)), random.integers(0, 6, 12)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    hits = []
    for query in range(12):
        others = [other for other in range(12) if other != query]
        if not any(labels[other] == labels[query] for other in others):
            continue
        near = sorted(others, key=lambda other: -float(unit[query] @ unit[other]))[:k]
        hits.append(any(labels[other] == labels[query] for other in near))
    if hits:
        assert recall_at_k.metric(k)(vectors, labels) == pytest.approx(sum(hits) / len(hits))


def test_samples_without_visible_points_or_partners_score_nothing() -> None:
    labels = np.zeros((2, 3, 3))
    assert (pck.metric()(np.zeros((2, 3, 2)), labels), oks.metric()(np.zeros((2, 3, 2)), labels)) == (0.0, 0.0)
    assert recall_at_k.metric()(np.eye(3), np.arange(3)) == 0.0
