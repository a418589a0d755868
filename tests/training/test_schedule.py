"""The learning rate."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.recipe import ScheduleName
from edgekd.training.schedule import learning_rate

SHAPES = get_args(ScheduleName)


@given(st.integers(1, 500), st.floats(0.01, 10), st.floats(0, 2), st.sampled_from(SHAPES), st.data())
def test_stays_above_zero_and_within_the_peak(total, peak, warmup, shape, data):
    step = data.draw(st.integers(0, total - 1))
    assert 0 < learning_rate(step, total, peak, warmup, shape) <= peak * (1 + 1e-12)  # float64 rounding


@given(st.integers(20, 500), st.floats(0, 0.5), st.sampled_from(SHAPES))
def test_rises_then_falls(total, warmup, shape):
    rates = [learning_rate(step, total, 1.0, warmup, shape) for step in range(total)]
    top = rates.index(max(rates))
    if shape == "one-cycle":  # the step nearest to 45 % of total + 1, counted from 1; either of two that are as near
        assert top + 1 == pytest.approx(0.45 * (total + 1), abs=0.5 + 1e-9)
    else:  # the last step of the warm-up or the first after it
        assert top == pytest.approx(warmup * total, abs=1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_known_values():
    assert [learning_rate(step, 8, 1.0, 0.0) for step in (0, 4)] == [1.0, pytest.approx(0.5)]
    assert learning_rate(0, 100, 0.4, 0.03) == pytest.approx(0.1)
    falling = [learning_rate(step, 100, 1.0, 0.2) for step in (20, 60, 99)]
    assert falling == [1.0, pytest.approx(0.5), pytest.approx((1 - math.cos(math.pi / 80)) / 2)]
    assert learning_rate(99, 100, 1.0, 0.2, "linear") == pytest.approx(1 / 80)
    assert [learning_rate(step, 8, 1.0, 0.0, "linear") for step in (0, 2, 4)] == [1.0, 0.75, 0.5]
    assert {learning_rate(step, 8, 2.0, 0.0, "constant") for step in range(8)} == {2.0}


def test_one_cycle_is_two_equal_slopes_and_a_fall_by_orders_of_magnitude():
    rates = [learning_rate(step, 199, 1.0, 0.0, "one-cycle") for step in range(199)]
    up, down = rates[:89], rates[90:179]  # 90 % of 200 steps, without the peak between
    assert rates[89] == pytest.approx(1.0)
    assert up == pytest.approx(down[::-1])
    assert rates[179] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001 + 0.099 / 20)
