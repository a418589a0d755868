"""`make accuracy`: what three seeds of quickstart promise on average."""

import pytest

from tests.promises import assert_int8_keeps, assert_proven, take

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return take(tmp_path_factory.mktemp("accuracy") / "run", "--seeds", 3)


def test_three_seeds_were_taken(run):
    assert run["seeds"] == [0, 1, 2]


def test_distillation_does_not_cost_accuracy(run):
    assert run["student"]["metric"]["mean"] >= run["student_scratch"]["metric"]["mean"]


def test_int8_stays_within_half_a_point_of_float(run):
    assert_int8_keeps(run, 0.005)


def test_every_target_is_proven(run):
    assert_proven(run)
