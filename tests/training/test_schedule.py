"""The learning rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.training.schedule import learning_rate


@given(st.integers(1, 500), st.floats(0.01, 10), st.floats(0, 2), st.data())
def test_stays_between_zero_and_the_peak(total, peak, warmup, data):
    step = data.draw(st.integers(0, total - 1))
    assert 0 <= learning_rate(step, total, peak, warmup) <= peak


@given(st.integers(20, 500), st.floats(0, 0.5))
def test_rises_then_falls(total, warmup):
    rates = [learning_rate(step, total, 1.0, warmup) for step in range(total)]
    top = rates.index(max(rates))
    assert top == pytest.approx(warmup * total, abs=1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_known_values():
    assert [learning_rate(step, 8, 1.0, 0.0) for step in (0, 4)] == [1.0, pytest.approx(0.5)]
    assert learning_rate(0, 100, 0.4, 0.03) == pytest.approx(0.1)
