"""What teaching bought, counted by hand, and when nothing may be said of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.metrics import accuracy, spearman
from edgekd.pipeline.tax import Scored, distillation, may_be_chance, over_seeds
from edgekd.tasks.classification import Classification
from edgekd.tasks.sentence_pairs import SentencePairs

CLOSE = 1e-12  # float64 additions in another order
ACCURACY, SPEARMAN = accuracy.metric(), spearman.metric()


def scored(value, samples):
    """An accuracy with its standard error on so many samples."""
    return Scored(value, (value * (1 - value) / samples) ** 0.5)


def test_two_seeds_by_hand():
    found = distillation(
        ACCURACY, scored(0.9, 10_000), [scored(0.7, 10_000), scored(0.74, 10_000)], [0.8, 0.86], [0.85, 0.95]
    )
    assert found["tax"] == pytest.approx(0.9 - 0.83, abs=CLOSE)
    assert found["tax_std"] == pytest.approx(0.06 / 2**0.5, abs=CLOSE)
    assert found["gap_recovered"] == pytest.approx((0.83 - 0.72) / (0.9 - 0.72), abs=CLOSE)
    assert found["gap_recovered_std"] == pytest.approx((0.12 - 0.10) / 0.18 / 2**0.5, abs=CLOSE)
    assert (found["agreement"], found["agreement_std"]) == pytest.approx((0.9, 0.1 / 2**0.5), abs=CLOSE)
    assert "reason" not in found


rates = st.floats(0, 1)


@given(rates, st.lists(st.tuples(rates, rates, rates), min_size=1, max_size=4), st.integers(1, 10**6))
def test_a_gap_is_told_or_its_absence_explained(teacher, seeds, samples):
    scratch, student, agreement = (list(values) for values in zip(*seeds, strict=True))
    alone = [scored(value, samples) for value in scratch]
    found = distillation(ACCURACY, scored(teacher, samples), alone, student, agreement)
    assert (found["gap_recovered"] is None) == ("reason" in found)
    assert (found["tax_std"] is None) == (len(seeds) == 1)


def test_chance_is_no_gap():
    """Two standard errors of 0.9 against 0.89 on 1,000 samples are 2.7 points."""
    found = distillation(ACCURACY, scored(0.9, 1000), [scored(0.89, 1000)], [0.895], [0.9])
    assert found["gap_recovered"] is None
    assert found["reason"] == "teacher - scratch is 1.00 points; below 2.74 it is chance"
    assert distillation(ACCURACY, scored(1.0, 10), [scored(1.0, 10)], [1.0], [1.0])["gap_recovered"] is None
    assert "no scratch control" in distillation(ACCURACY, scored(0.9, 1000), [], [0.8], [0.9])["reason"]


def test_the_standard_error_of_a_rank_correlation_is_what_chance_makes_of_it():
    """400 draws of 300 pairs know a deviation within 1/sqrt(800) = 3.5 % each; 15 % is four of them."""
    random, pairs, correlation = np.random.default_rng(0), 300, 0.8
    found, told = [], []
    for _ in range(400):
        truth, noise = random.normal(size=(2, pairs))
        scores = correlation * truth + (1 - correlation**2) ** 0.5 * noise
        cosines = np.tanh(truth)  # ranks are all that counts
        angles = np.arccos(cosines)
        embeddings = np.zeros((2 * pairs, 2))
        embeddings[::2, 0] = 1
        embeddings[1::2] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rows = SPEARMAN.rows(embeddings, scores.repeat(2))
        found.append(SPEARMAN.score(rows))
        told.append(SPEARMAN.standard_error(rows))
    assert np.mean(told) == pytest.approx(np.std(found), rel=0.15)


def test_what_chance_gets():
    labels = np.array([0, 1, 1, 1, 2])
    assert Classification().chance(labels) == pytest.approx((0.6, (0.24 / 5) ** 0.5), abs=CLOSE)
    assert SentencePairs().chance(np.arange(109, dtype=np.float32).repeat(2)) == pytest.approx((0, 0.1), abs=CLOSE)
    # two standard errors of 0.6 on 100 samples are 2 * √(0.24 / 100) = 0.098
    assert [may_be_chance(ACCURACY, value, *scored(0.6, 100)) for value in (0, 0.6, 0.697, 0.699, 1)] == [True] * 3 + [
        False
    ] * 2
    # of no correlation, on 109 pairs, 2 * √(1.06 / 106) = 0.2
    assert [may_be_chance(SPEARMAN, value, 0, 0.1) for value in (-0.5, 0.199, 0.201)] == [True, True, False]


def test_one_seed_has_no_deviation():
    assert over_seeds([0.5]) == {"mean": 0.5, "std": None, "seeds": [0.5]}
