"""Whether values are written in the number format that was trained, as a pure function of two ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bundle import Range
from edgekd.data.ranges import hold_against, misfit, range_of
from edgekd.errors import BadInputError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
KINDS = {
    "pixels": PIXELS,
    "unit": PIXELS / np.float32(255),
    "normalised": ((PIXELS / 255 - 0.5) / 0.25).astype(np.float32),
    "dark": np.where(PIXELS > 252, PIXELS, PIXELS // 16),
    "ink": np.where(PIXELS > 253, 255, 0).astype(np.uint8),  # less than 1 % of it: both percentiles are 0
    "heavy tail": np.random.default_rng(1).pareto(0.5, (400, 6)),
    "one huge column": np.random.default_rng(2).random((40, 6)) * [1, 1, 1, 1, 1, 1e6],
}


def verdict(found: np.ndarray, trained: np.ndarray) -> str:
    odd = misfit(range_of(found), range_of(trained))
    return "" if odd is None else "refused" if odd.refused else "warned"


@pytest.mark.parametrize(
    ("found", "trained", "expected"),
    [
        (PIXELS / 255, PIXELS, "refused"),
        (PIXELS > 127, PIXELS, "refused"),
        (PIXELS, PIXELS / 255, "refused"),
        (PIXELS, KINDS["normalised"], "refused"),
        (KINDS["normalised"], PIXELS, "warned"),  # a little wider than a 64th
        (PIXELS / 255, KINDS["normalised"], "warned"),
        (PIXELS / 127.5 - 1, PIXELS / 255, "warned"),
        (PIXELS.astype(np.int64), PIXELS, ""),
        (PIXELS.astype(np.float64), PIXELS, ""),
        (1.1 * PIXELS, PIXELS, ""),  # outliers a little wider
        (1.9 * PIXELS, PIXELS, "warned"),
        (2.1 * PIXELS, PIXELS, "refused"),
        (np.zeros((4, 1, 8, 8)), PIXELS, "warned"),  # constants say nothing of a format
        (np.full((4, 1, 8, 8), 1e4), PIXELS, "warned"),
        (PIXELS, np.zeros((4, 1, 8, 8)), "warned"),
        (PIXELS[:1] / 255, PIXELS, "warned"),  # nor does one sample, of either
        (PIXELS, PIXELS[:1] / 255, "warned"),
        (np.sort(KINDS["heavy tail"], 0)[:399], KINDS["heavy tail"], ""),  # the largest are missing
    ],
)
def test_formats(found: np.ndarray, trained: np.ndarray, expected: str) -> None:
    assert verdict(np.asarray(found, np.float64) if found.dtype == bool else found, trained) == expected


@given(st.sampled_from(sorted(KINDS)), st.floats(65, 1e6), st.floats(-1e3, 1e3))
def test_a_much_smaller_copy_is_refused_wherever_it_lies(kind: str, factor: float, shift: float) -> None:
    trained = KINDS[kind].astype(np.float64)
    lowest, width = trained.min(), np.ptp(trained)
    found = lowest + np.clip(shift, 0, 1) * width / 2 + (trained - lowest) / factor
    assert verdict(found, trained) == "refused"


@given(st.sampled_from(sorted(KINDS)), st.floats(2.1, 1e6))
def test_a_much_larger_copy_is_refused(kind: str, factor: float) -> None:
    trained = KINDS[kind].astype(np.float64)
    trained -= trained.min()
    assert verdict(factor * trained, trained) == "refused"


@given(st.sampled_from(sorted(KINDS)), st.sampled_from([1e-9, 1e-3, 1.0, 1e3, 1e9]), st.floats(-10, 10))
def test_the_verdict_does_not_depend_on_the_unit(kind: str, unit: float, zero: float) -> None:
    """Powers of ten and a shift that is small beside them: what is rounded away is below any threshold."""
    for other in KINDS:
        found, trained = KINDS[other].astype(np.float64), KINDS[kind].astype(np.float64)
        moved = verdict(unit * (found + zero), unit * (trained + zero))
        assert moved == verdict(found, trained), (other, kind)


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 1000), st.integers(2, 20))
def test_samples_of_the_trained_kind_are_not_refused(kind: str, seed: int, count: int) -> None:
    """Nor warned of, but where a hundredth of the values are far from all others: then a percentile may jump."""
    data = KINDS[kind]
    drawn = np.random.default_rng(seed).permutation(len(data))
    found, trained = data[drawn[:count]], data[drawn[count:]]
    if kind in ("pixels", "unit", "normalised"):
        assert verdict(found, trained) == ""
    if kind != "heavy tail":  # whose largest value may well be twice all others
        assert verdict(found, trained) != "refused"
    assert verdict(trained, data) != "refused"


def test_many_values_are_summed_up_alike() -> None:
    """Percentiles of a draw of a million: of a uniform distribution within 0.05 points of its own, five deviations."""
    values = np.linspace(0, 100, 3_000_000).reshape(-1, 3)
    found = range_of(values)
    assert (found.low, found.high, found.samples) == (0, 100, 1_000_000)
    assert found.p01 == pytest.approx(1, abs=0.05)
    assert found.p99 == pytest.approx(99, abs=0.05)


def test_a_misfit_is_told_with_both_ranges_and_may_be_overridden() -> None:
    told: list[str] = []
    unit = Range(low=0, p01=0, p99=1, high=1, samples=9)
    bytes_ = Range(low=0, p01=0, p99=255, high=255, samples=9)
    with pytest.raises(BadInputError, match="x goes from 0 to 1, what was trained from 0 to 255.*--any-range"):
        hold_against(unit, bytes_, "x", "what was trained", told.append)
    assert told == []
    hold_against(unit, bytes_, "x", "what was trained", told.append, any_range=True)
    assert len(told) == 1
    hold_against(bytes_, bytes_, "x", "what was trained", told.append)
    assert len(told) == 1
