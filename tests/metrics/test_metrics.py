import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekd.metrics import accuracy, calibration_error, spearman
from edgekd.tasks.classification import Classification

LOGITS = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])


def test_accuracy_and_agreement_count_argmaxes() -> None:
    metric, decide = accuracy.metric(), Classification().decide
    assert metric(LOGITS, np.array([0, 1, 1, 1])) == 0.75
    assert metric(LOGITS, decide(LOGITS[::-1])) == 0.0
    assert metric(LOGITS, decide(3 * LOGITS)) == 1.0


def test_calibration_error_by_hand() -> None:
    confident = np.log(np.array([[0.9, 0.1]] * 10))
    assert calibration_error.metric()(confident, np.array([0] * 9 + [1])) == pytest.approx(0.0)
    assert calibration_error.metric()(confident, np.array([1] * 10)) == pytest.approx(0.9)


@given(hnp.arrays(np.float64, (40, 5), elements=st.floats(-20, 20)), st.integers(1, 30))
def test_calibration_error_is_its_definition(logits: np.ndarray, bins: int) -> None:
    labels = np.arange(40) % 5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    confidence = probabilities.max(axis=1)
    total = 0.0
    for index in range(1, bins + 1):
        inside = np.ceil(confidence * bins).clip(1, bins) == index
        if inside.any():
            correct = logits.argmax(axis=1)[inside] == labels[inside]
            total += inside.sum() / 40 * abs(correct.mean() - confidence[inside].mean())
    # a confidence on a bin's edge may round to either side: one sample of 40 moves at most 2/40
    assert calibration_error.metric(bins)(logits, labels) == pytest.approx(total, abs=0.05)


def test_embeddings_that_are_all_alike_rank_nothing() -> None:
    scores = np.repeat(np.arange(4.0), 2)
    assert spearman.metric()(np.ones((8, 3)), scores) == 0
    assert spearman.metric()(np.random.default_rng(0).normal(size=(8, 3)), np.ones(8)) == 0
