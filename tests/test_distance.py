"""How far two arrays are apart, against numbers that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.distance import Steps, sqnr, steps_apart


@given(st.floats(1e-3, 1e3), st.floats(1e-4, 0.5))
def test_sqnr_is_the_ratio_of_powers(scale: float, noise: float) -> None:
    """An error proportional to the signal has a known ratio; float64 holds it to 1e-6 dB."""
    reference = np.random.default_rng(0).normal(size=200) * scale
    assert sqnr(reference * (1 + noise), reference) == pytest.approx(-20 * np.log10(noise), abs=1e-6)


def test_sqnr_of_equal_and_of_silent_arrays() -> None:
    signal = np.full(100, 10.0)
    assert sqnr(signal + 1, signal) == pytest.approx(20.0)
    assert sqnr(signal, signal) is None
    assert (sqnr(signal, 0 * signal) or 0) < -1000  # nothing but noise


def test_steps_of_unsigned_integers_do_not_wrap() -> None:
    apart = steps_apart(np.array([0, 255, 7], np.uint8), np.array([1, 250, 7], np.uint8), 1.0)
    assert apart.tolist() == [1, 5, 0]


def test_one_outlier_of_few_is_forgiven_by_the_percentile_alone() -> None:
    """Of 1000 elements one is 5 steps away and one 0.4, which rounds to the same step."""
    apart = np.zeros(1000)
    apart[3], apart[5] = 5, 0.4
    assert Steps.of(apart) == Steps(max=5, p999=0.4, exact=0.999)
