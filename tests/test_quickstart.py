"""`make promises`: `make demo`, as a user runs it."""

import time

import pytest

from edgekd.pipeline.dry_run import dry_run
from edgekd.recipe import load_recipe
from tests.promises import RECIPE, assert_int8_keeps, assert_proven, take

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    started = time.monotonic()
    run = take(tmp_path_factory.mktemp("quickstart") / "run")
    return run, time.monotonic() - started


def test_all_targets_are_proven(taken):
    assert_proven(taken[0])


def test_int8_loses_no_more_than_the_recipe_allows(taken):
    assert_int8_keeps(taken[0], load_recipe(RECIPE).quantization.max_drop)


def test_the_student_has_learned(taken):
    """Far from chance (a tenth), and not far below the control: one seed of 2,000 samples says no more."""
    run = taken[0]
    scratch, student = (run[name]["metric"]["mean"] for name in ("student_scratch", "student"))
    assert student > 0.8
    assert student > scratch - 0.03


@pytest.mark.perf
def test_a_dry_run_says_what_it_takes(taken, tmp_path):
    """Within a factor of two of what the same stages took afterwards, together and each that takes long."""
    found, stages = dry_run(RECIPE, (), tmp_path / "run"), taken[0]["stages"]
    price = {row["stage"]: row["seconds"] for row in found["stages"]}
    for name in ("teacher", "scratch", "student"):
        real = next(stage["seconds"] for stage in stages if stage["name"] == name)
        assert price[name]["low"] / 2 < real < price[name]["high"] * 2, (name, price[name], real)
    real = sum(stage["seconds"] for stage in stages)
    assert found["seconds"]["low"] / 2 < real < found["seconds"]["high"] * 2, (found["seconds"], real)


@pytest.mark.perf
def test_it_takes_no_longer_than_promised(taken):
    assert taken[1] < 720  # s, on two cores of an older CPU (README)
