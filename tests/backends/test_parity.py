"""The gate over arrays: what it lets through, what it refuses, and when a case does not count."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.backends.parity import Parity, compare
from edgekd.distance import clear_agreement

STEP = 0.05
EXACT = {"max_steps": 2.0, "agreement": 0.99}
PERCENTILE = {"p999_steps": 4.0, "agreement": 0.99}
Array = np.ndarray[Any, Any]


def logits(samples: int = 600, classes: int = 10, seed: int = 0) -> Array:
    """On the grid of STEP, 30 steps of standard deviation."""
    steps = np.rint(np.random.default_rng(seed).normal(0, 30, (samples, classes)))
    return (np.clip(steps, -128, 127) * STEP).astype(np.float32)


def row(output: Array, reference: Array, tolerance: dict[str, float] = EXACT, **more: Any) -> Parity:
    """Of classes where the tolerance asks for agreement, as in a bundle."""
    more = {"step": STEP, "classes": "agreement" in tolerance} | more
    return compare("logits", output, reference, tolerance, batch=8, **more)


def test_equal_outputs_pass() -> None:
    result = row(logits(), logits())
    assert (result.ok, result.max, result.p999, result.exact, result.agreement) == (True, 0, 0, 1, 1)
    assert result.sqnr is None
    assert result.histogram is not None
    assert (result.histogram.steps, result.histogram.counts) == ((0,), (6000,))


@pytest.mark.parametrize(("steps", "ok"), [(1, True), (2, True), (3, False)])
def test_one_element_decides_the_maximum(steps: int, ok: bool) -> None:
    """Float32 arithmetic is exact to 1e-5 steps here; 2.0 itself is allowed."""
    output = logits()
    output[7, 3] += steps * np.float32(STEP) * (1 - 1e-6)
    result = row(output, logits())
    assert result.max == pytest.approx(steps, abs=1e-4)
    assert result.ok is ok
    assert ok or result.reason == "max is 3.00 steps, 2 allowed"


@pytest.mark.parametrize(("wrong", "ok"), [(5, True), (8, False)])
def test_the_percentile_forgives_one_in_a_thousand(wrong: int, ok: bool) -> None:
    """6000 elements: the 99.9th percentile lies between the 6th and the 7th largest. Classes stay apart."""
    output = logits()
    output.flat[:wrong] += 20 * STEP
    result = row(output, logits(), {"p999_steps": 4.0})
    assert result.ok is ok
    assert ok or (result.reason or "").startswith("p999 is ")


def test_classes_count_only_where_the_reference_is_clear() -> None:
    reference = np.zeros((4, 3), np.float32)
    reference[:, 0] = np.array([3, 5, 9, 9]) * STEP
    output = reference.copy()
    output[0] = [0, 1, 0]  # margin 3 steps: undecided, so not counted
    assert clear_agreement(output, reference, STEP) == 1
    output[3] = [0, 1, 0]
    assert clear_agreement(output, reference, STEP) == pytest.approx(2 / 3)
    assert clear_agreement(output, reference * 0, STEP) is None


def test_ten_confused_classes_in_600_fail() -> None:
    """Small in steps on average, yet 10 of 600 clear decisions flipped is below 99 %."""
    output = logits()
    best = np.sort(output, axis=1)
    clear = np.flatnonzero(best[:, -1] - best[:, -2] > 5 * STEP)[:10]
    output[clear] = -output[clear]
    result = row(output, logits(), {"agreement": 0.99})
    assert not result.ok
    assert "classified alike" in (result.reason or "")


def test_other_outputs_need_30_db() -> None:
    """Noise of 4 % in amplitude is 28 dB, of 2 % is 34 dB; 6000 samples leave it within 0.3 dB of that."""
    reference = logits().reshape(600, 5, 2)
    noise = np.random.default_rng(1).normal(0, float(reference.std()), reference.shape).astype(np.float32)
    assert row(reference + 0.02 * noise, reference, {}).ok
    result = row(reference + 0.04 * noise, reference, {})
    assert not result.ok
    assert (result.reason or "").startswith("SQNR is 2")
    assert result.agreement is None


def test_integer_outputs_have_to_be_equal() -> None:
    classes = np.arange(100) % 7
    assert row(classes, classes, step=None).ok
    other = classes.copy()
    other[5] += 1
    assert row(other, classes, step=None).reason == "99.00% of the elements are equal, all have to be"


@pytest.mark.parametrize(("changed", "drifts"), [(0, False), (1, False), (2, True)])
def test_indices_drift_where_quantising_changes_more_than_the_runtime(changed: int, drifts: bool) -> None:
    """Of 100, three differ: 1.5 times as many as two, where roundings explain 1.6 times; the layers have to vouch."""
    classes = np.arange(100) % 7
    output, unquantized = classes.copy(), classes.copy()
    output[:3] += 1
    unquantized[50 : 50 + changed] += 1
    found = row(output, classes, step=None, unquantized=unquantized)
    assert (found.ok, found.drifts) == (False, drifts)
    assert found.drift == (pytest.approx(3 / changed) if changed else None)
    assert found.beyond == "97.00% of the elements are equal, all have to be"


def test_the_step_of_a_float_output_is_its_range() -> None:
    result = row(logits(), logits(), step=None)
    assert result.step == pytest.approx(float(np.ptp(logits())) / 255)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_have_to_be_finite(bad: float) -> None:
    output = logits()
    output[0, 0] = bad
    assert row(output, logits()).reason == "the output is not finite"


def test_shapes_have_to_match() -> None:
    assert row(logits()[:, :9], logits()).reason == "shape (600, 9) instead of (600, 10)"


@pytest.mark.parametrize(
    "reference",
    [
        np.tile(np.linspace(-5, 5, 10, dtype=np.float32), (600, 1)),  # differs between classes, never between inputs
        logits() * 0.2,  # 6 steps
        np.zeros((600, 10), np.float32),
    ],
)
def test_a_reference_that_hardly_moves_does_not_count(reference: Array) -> None:
    result = row(reference, reference)
    assert not result.ok
    assert not result.counts
    assert (result.reason or "").startswith("inconclusive: the reference varies by ")


def test_a_reference_far_from_the_float_model_does_not_count() -> None:
    """Its noise is as large as its signal: 0 dB."""
    result = row(logits(), logits(), unquantized=logits() + logits(seed=1))
    assert not result.ok
    assert not result.counts
    assert "dB from the float model" in (result.reason or "")
    assert row(logits(), logits(), unquantized=logits() + 0.05 * logits(seed=1)).ok


def test_integers_that_never_change_do_not_count() -> None:
    assert not row(np.zeros(50, np.int64), np.zeros(50, np.int64), step=None).counts


@given(st.floats(1e-3, 1e3))
def test_the_gate_does_not_depend_on_units(scale: float) -> None:
    """Scaling outputs and step together changes nothing beyond float32 rounding, 1e-4 steps."""
    output = logits() + STEP
    one, other = row(output, logits()), row(output * scale, logits() * scale, step=STEP * scale)
    assert (one.ok, one.agreement, one.exact) == (other.ok, other.agreement, other.exact)
    assert other.max == pytest.approx(one.max, abs=1e-4)


def independent(noise: float, size: float, seed: int = 1) -> tuple[Array, Array, Array]:
    """A float model, its quantised reference `noise` steps away, and an output as far from the float one again."""
    random = np.random.default_rng(seed)
    plain = logits()
    reference, output = (plain + STEP * random.normal(0, amount, plain.shape) for amount in (noise, size))
    return plain, reference.astype(np.float32), output.astype(np.float32)


def test_roundings_that_have_nothing_in_common_drift_by_the_square_root_of_two() -> None:
    """6000 draws: a standard error of 1 %. Too many steps, so the layers have to be asked."""
    plain, reference, output = independent(2, 2)
    result = row(output, reference, unquantized=plain)
    assert result.drift == pytest.approx(2**0.5, rel=0.05)
    assert (result.ok, result.drifts) == (False, True)
    assert (result.reason or "").startswith("max is ")


def test_an_output_further_off_than_roundings_explain_does_not_drift() -> None:
    plain, reference, output = independent(2, 4)
    result = row(output, reference, unquantized=plain)
    assert (result.ok, result.drifts) == (False, False)


def test_drift_excuses_no_other_class() -> None:
    """Ten of 600 clear decisions flipped: their distance alone would pass beside a noise of 2 steps."""
    plain, reference, output = independent(2, 0)
    order = np.argsort(reference, axis=1)
    leads = np.take_along_axis(reference, order[:, -1:], 1) - np.take_along_axis(reference, order[:, -2:-1], 1)
    barely = [index for index in np.argsort(leads[:, 0]) if leads[index, 0] > 8.5 * STEP][:10]
    output[:] = reference
    for index in barely:
        output[index, order[index, -2:]] = output[index, order[index, -2:][::-1]]
    result = row(output, reference, unquantized=plain)
    assert (result.ok, result.drifts) == (False, False)
    assert "classified alike" in (result.reason or "")


def test_margins_are_counted_in_noise_where_that_is_more_than_a_step() -> None:
    """A lead of 10 steps says nothing beside a noise of 3: two logits may move by 4 each way, twice."""
    reference = np.tile(np.array([[10 * STEP, 0]], np.float32), (4, 1)) + np.arange(4, dtype=np.float32)[:, None]
    output = reference[:, ::-1].copy()
    plain = reference + 3 * STEP * np.array([1, -1], np.float32)
    assert row(output, reference, unquantized=plain).agreement is None
    assert row(output, reference).agreement == 0


def test_an_output_that_classifies_nothing_is_judged_by_its_signal() -> None:
    """Noise of a tenth of the signal, 20 dB: classes far apart may agree on it, embeddings may not."""
    reference = np.tile(100 * STEP * np.eye(10, dtype=np.float32), (60, 1))
    output = reference + np.float32(0.1 * 100 * STEP / 10**0.5) * np.where(np.arange(10) % 2, 1, -1)
    assert row(output, reference, {"max_steps": 99.0, "agreement": 0.99}).ok
    result = row(output, reference, {"max_steps": 99.0})
    assert result.reason == "SQNR is 20.0 dB, 30 required"
    assert result.agreement is None
    pixels = np.repeat(np.repeat(reference[:, :, None, None], 2, 2), 2, 3)
    assert row(pixels, pixels).agreement is None  # of every pixel's classes the distance says enough


SIGNS = np.tile([10.0, -10.0], (10, 5)) * np.array([1, -1] * 5)[:, None]  # 100 values of ±10, and each column moves


@pytest.mark.parametrize(("off", "ok"), [(10, True), (11, False)])
def test_30_db_are_a_thousandth_of_the_energy(off: int, ok: bool) -> None:
    output = SIGNS.copy()
    output.flat[:off] += 1
    result = row(output, SIGNS, {}, step=1.0)
    assert result.ok is ok
    assert result.sqnr == pytest.approx(10 * np.log10(10_000 / off))
    assert ok or result.reason == "SQNR is 29.6 dB, 30 required"


@pytest.mark.parametrize(("off", "counts"), [(25, True), (26, False)])
def test_a_reference_20_db_from_the_float_model_counts(off: int, counts: bool) -> None:
    unquantized = SIGNS.copy()
    unquantized.flat[:off] += 2  # of an energy of 10,000 at most 100
    exact = SIGNS.copy()
    result = row(exact, exact, {}, step=0.5, unquantized=unquantized)
    assert result.counts is counts


def test_a_reference_moves_by_eight_steps_or_a_rare_value_by_four_times_as_many() -> None:
    for steps, counts in ((8.0, True), (7.9, False)):
        moving = np.tile([steps, -steps], 50)[:, None]
        assert row(moving, moving, {}, step=1.0).counts is counts
    for steps, counts in ((32.1, True), (31.9, False)):
        rare = np.zeros((2000, 1))
        rare[7] = steps
        assert row(rare, rare, {}, step=1.0).counts is counts


@pytest.mark.parametrize("shape", [(2000, 1), (500, 2, 2)])
def test_a_runtime_that_ignores_the_rare_values_does_not_pass(shape: tuple[int, ...]) -> None:
    """One value of 2000 moves: neither the 99.9th percentile nor decibels over a high level would see it."""
    reference = np.full(shape, 100.0)
    reference[7] += 40.0
    ignores, follows = np.full(shape, 100.0), reference + np.random.default_rng(0).uniform(-3, 3, shape)
    limits = {"p999_steps": 4.0}
    found = row(ignores, reference, limits, step=1.0)
    assert (found.counts, found.ok) == (True, False)
    assert row(follows, reference, limits, step=1.0).ok


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("off", "ok"), [(-19.5, True), (19.5, True), (20.5, False), (-40.0, False)])
def test_a_rare_value_may_be_off_by_half_of_what_it_moves(off: float, ok: bool, step: float) -> None:
    reference = np.full((2000, 1), 1000 * step)
    reference[7] += 40 * step  # 39.98 from the mean
    output = reference.copy()
    output[7] += off * step
    found = row(output, reference, {"p999_steps": 4.0}, step=step)
    assert (found.counts, found.ok) == (True, ok)
    assert ok or found.beyond == f"where the reference moves, by 40 steps, the output is off by {abs(off):.0f}"


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_movement_is_counted_in_steps(step: float) -> None:
    """What does not move says nothing of the runtime either."""
    for steps, counts in ((8.0, True), (7.9, False)):
        moving = np.tile([steps * step, -steps * step], 50)[:, None]
        found = row(moving + 0.1 * step, moving, {"max_steps": 2.0}, step=step)
        assert (found.counts, found.beyond) == (counts, None)
        assert counts or found.reason == "inconclusive: the reference varies by 7.9 steps only (needs 8)"


def test_what_moves_often_is_judged_by_the_whole() -> None:
    """Half of the values move by nine steps, and are off by six: within what the tolerance allows."""
    reference = np.full((400, 1), 1000.0)
    reference[::2] += 18.0
    output = reference.copy()
    output[::2] -= 6.0
    assert row(output, reference, {"max_steps": 6.0}, step=1.0).ok


def test_the_histogram_counts_whole_steps_up_to_sixteen() -> None:
    output = logits()
    output.flat[:7] += np.array([0.4, 0.6, 1.4, 15.4, 16.4, 17.0, 400.0], np.float32) * np.float32(STEP)
    histogram = row(output, logits()).histogram
    assert histogram is not None
    assert dict(zip(histogram.steps, histogram.counts, strict=True)) == {0: 5994, 1: 2, 15: 1, 16: 3}


def test_a_row_says_nothing_of_what_was_not_judged() -> None:
    for result in (row(logits()[:, :9], logits()), row(logits() * np.nan, logits())):
        assert (result.drifts, result.beyond, result.drift, result.step, result.proof) == (
            False,
            None,
            None,
            None,
            "steps",
        )
        assert result.counts


def test_a_drift_is_a_multiple_of_the_references_own_distance() -> None:
    """Two steps everywhere, where the reference is one step from float: too far, and too far for roundings."""
    unquantized = logits() + np.float32(STEP)
    result = row(logits() + 2 * np.float32(STEP), logits(), {"max_steps": 1.0}, unquantized=unquantized)
    assert result.drift == pytest.approx(2, rel=1e-4)
    assert (result.ok, result.drifts) == (False, False)
    assert result.beyond == result.reason == "max is 2.00 steps, 1 allowed"
    near = row(logits() + 1.5 * np.float32(STEP), logits(), {"max_steps": 1.0}, unquantized=unquantized)
    assert near.drift == pytest.approx(1.5, rel=1e-4)
    assert (near.ok, near.drifts) == (False, True)  # 1.6 times as far is what independent roundings explain
    void = row(logits() * 0.01, logits() * 0.01, {"max_steps": 1.0}, unquantized=unquantized)
    assert not void.drifts


def test_integers_of_a_single_sample_or_that_differ_count() -> None:
    assert row(np.zeros(1, np.int64), np.zeros(1, np.int64), step=None).ok
    assert not row(np.zeros(2, np.int64), np.zeros(2, np.int64), step=None).counts
    constant = row(np.zeros((3, 2), np.int64), np.zeros((3, 2), np.int64), step=None)
    assert (constant.counts, constant.exact) == (False, 1.0)
    assert row(np.array([1, 1, 2]), np.array([1, 1, 2]), step=None).ok


def test_nothing_is_classified_unless_that_is_said() -> None:
    assert compare("y", logits(), logits(), {}, batch=1, step=STEP).agreement is None
    assert compare("y", logits(), logits(), {}, batch=1, step=STEP, classes=True).agreement == 1


@pytest.mark.parametrize(("off", "ok"), [(32.0, True), (32.5, False)])
def test_exactly_half_of_the_movement_may_be_lost(off: float, ok: bool) -> None:
    reference = np.full((2000, 1), 1024.0)
    reference[7:9, 0] += [64, -64]  # the mean stays
    output = reference.copy()
    output[7:9] += off
    assert row(output, reference, {"p999_steps": 4.0}, step=1.0).ok is ok
