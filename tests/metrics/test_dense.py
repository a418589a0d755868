"""Metrics of several labels and of maps, against their definitions in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.metrics import macro_f1, mean_ap, miou, pixel_accuracy

SEEDS = st.integers(0, 2**32 - 1)
CLOSE = 1e-12  # float64 sums in another order


def labels_and_scores(seed: int, count: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties; every label has a sample with it and one without."""
    random = np.random.default_rng(seed)
    wanted = random.integers(0, 2, (count, labels))
    wanted[0], wanted[1] = 0, 1
    return np.round(random.normal(size=(count, labels)), 1), wanted


def average_precision(scores: list[float], wanted: list[int]) -> float:
    """As scikit-learn's: precision at every distinct score, weighted by what recall grows there."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        given_ = [want for score, want in zip(scores, wanted, strict=True) if score >= threshold]
        precision, recall = sum(given_) / len(given_), sum(given_) / sum(wanted)
        total += (recall - before) * precision
        before = recall
    return total


@given(SEEDS, st.integers(4, 60), st.integers(1, 4))
def test_multi_label_metrics_are_their_definitions(seed: int, count: int, labels: int) -> None:
    scores, wanted = labels_and_scores(seed, count, labels)
    columns = [(scores[:, k].tolist(), wanted[:, k].tolist()) for k in range(labels)]
    expected = sum(average_precision(*column) for column in columns) / labels
    assert mean_ap.metric()(scores, wanted) == pytest.approx(expected, abs=CLOSE)
    f1 = []
    for found, want in columns:
        right = sum(1 for f, w in zip(found, want, strict=True) if f > 0 and w)
        f1.append(2 * right / (sum(f > 0 for f in found) + sum(want)))
    assert macro_f1.metric()(scores, wanted) == pytest.approx(sum(f1) / labels, abs=CLOSE)


def test_a_label_that_nobody_has_is_not_ranked() -> None:
    scores, wanted = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[1, 0], [0, 0]])
    assert mean_ap.metric()(scores, wanted) == 1.0
    assert macro_f1.metric()(scores, wanted) == 0.5


@given(SEEDS, st.integers(2, 5))
def test_map_metrics_are_their_definitions(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(3, classes, 4, 5))
    wanted = random.integers(0, classes, (3, 4, 5))
    wanted[random.random(wanted.shape) < 0.2] = 255
    found, ious = logits.argmax(1), []
    pairs = [(f, w) for f, w in zip(found.ravel(), wanted.ravel(), strict=True) if w != 255]
    for number in range(classes):
        both = sum(1 for f, w in pairs if f == w == number)
        either = sum(1 for f, w in pairs if number in (f, w))
        if either:
            ious.append(both / either)
    assert miou.metric()(logits, wanted) == pytest.approx(sum(ious) / len(ious), abs=CLOSE)
    assert pixel_accuracy.metric()(logits, wanted) == pytest.approx(sum(f == w for f, w in pairs) / len(pairs))


def test_maps_are_counted_in_chunks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    logits, wanted = random.normal(size=(7, 3, 4, 4)), random.integers(0, 3, (7, 4, 4))
    whole = miou.metric()(logits, wanted)
    monkeypatch.setattr("edgekd.metrics._base.CHUNK", 2)
    assert miou.metric()(logits, wanted) == whole


def test_an_ignored_class_is_left_out_of_the_mean() -> None:
    logits = np.eye(3, dtype=np.float32)[[1, 2, 0, 2]].T.reshape(1, 3, 1, 4)
    labels = np.array([[[1, 2, 1, 0]]])
    assert miou.metric(0)(logits, labels) == (1 / 2 + 1) / 2  # class 1 is met once of two, class 2 always
