import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekd.quantization.histogram import Histogram
from edgekd.quantization.ranges import (
    METHODS,
    MIN_ACTIVATION_SCALE,
    MIN_WEIGHT_SCALE,
    Method,
    Observed,
    affine,
    quantize_bias,
    quantize_weight,
    spare_bias,
    weight_scale,
)
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.properties import few

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
VALUES = st.floats(-1e4, 1e4, width=32)
schemes = st.sampled_from(list(SCHEMES.values()))


@given(VALUES, VALUES, schemes)
def test_a_range_is_covered_and_holds_zero(low: float, high: float, scheme: Scheme) -> None:
    low, high = min(low, high), max(low, high)
    scale, zero_point = affine(low, high, scheme)
    smallest, largest = scheme.activation_range
    assert np.float32(scale) == scale >= np.float32(MIN_ACTIVATION_SCALE)
    assert smallest <= zero_point <= largest
    # The zero point is rounded: either end may lie half a step outside, and float32 adds one part in 2**22.
    slack = scale * (0.5 if not scheme.symmetric else 0) + max(abs(low), abs(high)) * 2.0**-22
    assert (smallest - zero_point) * scale <= min(low, 0) + slack
    assert (largest - zero_point) * scale >= max(high, 0) - slack


@given(st.floats(0, 1e4, width=32))
def test_after_a_relu_the_zero_point_is_the_smallest_value(high: float) -> None:
    assert affine(0.0, high, ASYMMETRIC).zero_point == 0


def test_a_relu6_edge_never_exceeds_six() -> None:
    assert affine(0.0, 6.0, ASYMMETRIC).scale * 255 <= 6.0
    assert affine(0.0, 6.0, SYMMETRIC).scale * 127 <= 6.0


def test_a_symmetric_scheme_covers_the_larger_side() -> None:
    scale, zero_point = affine(-2.0, 1.0, SYMMETRIC)
    assert zero_point == 0
    assert scale == pytest.approx(2 / 127, rel=1e-6)


def test_samples_combine_by_method() -> None:
    samples = np.array([(-1.0, 1.0), (-3.0, 2.0)])
    assert observed("minmax", ASYMMETRIC, samples) == (-3.0, 2.0)
    assert observed("ema", ASYMMETRIC, samples) == (-2.0, 1.5)


@few(20)
@given(
    st.sampled_from(METHODS),
    schemes,
    st.permutations(range(12)),
    st.sets(st.integers(1, 11)),
    st.sampled_from([40, 5000]),
)
def test_neither_order_nor_batches_move_a_range(
    method: Method, scheme: Scheme, order: list[int], cuts: set[int], size: int
) -> None:
    """Samples of very different spreads, all of their values counted (40) or some drawn (5,000)."""
    random = np.random.default_rng(0)
    samples = random.normal(size=(12, size)) * np.exp(random.normal(0, 2, (12, 1)))
    together = observed(method, scheme, samples)
    apart = observed(method, scheme, *np.split(samples[order], sorted(cuts)))
    assert apart == pytest.approx(together, rel=1e-5)


def test_a_histogram_keeps_values_to_a_sixteen_thousandth_however_they_grow() -> None:
    grown = Histogram()
    for scale in (1e-6, 1.0, 300.0):
        grown.add(np.linspace(-scale, scale, 1001).astype(np.float32))
    values, counts = grown.values()
    assert counts.sum() == 3003
    assert values.max() == pytest.approx(300, abs=512 / 2**14)
    assert float(np.dot(values, counts)) / 3003 == pytest.approx(0, abs=512 / 2**14)


def test_a_mean_counts_all_samples_alike() -> None:
    narrow, wide = np.zeros((100, 2)), np.tile([-1.0, 1.0], (100, 1))
    assert observed("ema", ASYMMETRIC, wide, narrow) == pytest.approx((-0.5, 0.5))


def observed(method: Method, scheme: Scheme, *batches: np.ndarray) -> tuple[float, float]:
    edge = Observed(method)
    for batch in batches:
        edge.add(batch.astype(np.float32))
    return edge.range(scheme)


def test_a_percentile_ignores_an_outlier() -> None:
    values = np.append(np.linspace(-1, 1, 8000), 100)
    assert observed("minmax", ASYMMETRIC, values)[1] == 100
    outliers = [values, *[np.linspace(-1, 1, 8001)] * 3]  # one among 32,000
    assert observed("percentile", ASYMMETRIC, *outliers)[1] == pytest.approx(1, abs=1e-2)


@given(st.sampled_from(METHODS), schemes, st.lists(st.floats(0.1, 10), min_size=1, max_size=4))
def test_no_method_reaches_beyond_what_was_seen(method: Method, scheme: Scheme, spreads: list[float]) -> None:
    batches = [spread * np.linspace(-1, 2, 500) for spread in spreads]
    low, high = observed(method, scheme, *batches)
    widest = observed("minmax", scheme, *batches)
    assert widest[0] - 1e-6 <= low <= high <= widest[1] + 1e-6


def test_a_channel_that_a_stride_would_miss_counts() -> None:
    """Layer norms have few channels that dwarf the others: of 384, every 48th would be eight."""
    values = np.random.default_rng(0).normal(size=(2048, 384))
    values[:, 7] *= 30
    assert observed("mse", ASYMMETRIC, values)[1] > 20


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_the_range_of_least_error_clips_a_tail_and_keeps_an_even_spread(scheme: Scheme) -> None:
    even, tail = np.linspace(-1, 1, 4001), np.append(12.0, np.random.default_rng(0).normal(size=8191))
    assert observed("mse", scheme, even) == pytest.approx((-1, 1), abs=0.03)
    low, high = observed("mse", scheme, tail)
    assert tail.min() <= low < 0 < high <= tail.max()
    assert bool(high < tail.max()) is (scheme.activation != "uint16")  # which has steps enough for a tail


def test_a_range_of_nothing_has_the_smallest_scale() -> None:
    assert affine(0.0, 0.0, ASYMMETRIC) == (np.float32(1e-8), 0)
    assert affine(0.0, 0.0, SYMMETRIC) == (np.float32(1e-8), 0)
    assert weight_scale(np.zeros((2, 3), np.float32), 0, ASYMMETRIC).tolist() == [np.float32(1e-9)] * 2


def test_a_scale_and_its_zero_point_are_worked_out_by_hand() -> None:
    scale, zero_point = affine(-1.0, 3.0, ASYMMETRIC)
    assert scale == pytest.approx(4 / 255, rel=1e-6)
    assert zero_point == 64  # 255 / 4 is 63.75
    assert affine(1.0, 3.0, ASYMMETRIC) == affine(0.0, 3.0, ASYMMETRIC)
    assert affine(-3.0, -1.0, ASYMMETRIC) == (affine(0.0, 3.0, ASYMMETRIC).scale, 255)
    assert affine(-3.0, 1.0, SYMMETRIC) == affine(-1.0, 3.0, SYMMETRIC)


def test_a_scale_never_reaches_beyond_what_it_covers() -> None:
    assert all(affine(0.0, float(high), ASYMMETRIC).scale * 255 <= high for high in range(1, 500))


def test_small_samples_are_counted_whole_and_large_ones_drawn() -> None:
    for size, counted in ((2048, 2048), (2049, 2050)):
        edge = Observed("mse")
        edge.add(np.ones((3, size), np.float32))
        assert edge.histogram.counts.sum() == 3 * counted
        assert (edge.samples, edge.low, edge.high, edge.sums.tolist()) == (3, 1.0, 1.0, [3.0, 3.0])
    for method in ("minmax", "ema"):
        edge = Observed(method)
        edge.add(np.ones((3, 2), np.float32))
        assert edge.histogram.counts.sum() == 0


def test_a_single_number_is_a_sample() -> None:
    assert observed("ema", ASYMMETRIC, np.array(2.0), np.array(-1.0)) == (0.5, 0.5)
    assert observed("minmax", ASYMMETRIC, np.array(2.0), np.array(-1.0)) == (-1.0, 2.0)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_show_in_a_range(method: Method) -> None:
    assert not np.isfinite(observed(method, ASYMMETRIC, np.array([[1.0, np.inf], [0.0, 1.0]]))).all()


def test_a_percentile_leaves_a_ten_thousandth_out_on_either_side() -> None:
    """Of 20,000 values two may lie beyond."""
    values = np.zeros(20_000)
    values[:4], values[-3:] = (50, 40, 40, 30), (-20, -10, -10)
    found = observed("percentile", ASYMMETRIC, np.random.default_rng(0).permutation(values).reshape(10, 2000))
    assert found == pytest.approx((-10, 40), abs=64 / 2**14)  # bins of that width


@pytest.mark.parametrize("scheme", [ASYMMETRIC, SYMMETRIC], ids=["asymmetric", "symmetric"])
def test_the_least_error_is_found_by_trying(scheme: Scheme) -> None:
    values = np.random.default_rng(2).normal(size=40_000).astype(np.float32)
    values[:2] = -7, 8
    low, high = float(values.min()), float(values.max())
    shares = [1 - step / 40 for step in range(33)]

    def error(low: float, high: float) -> float:
        scale, zero_point = affine(low, high, scheme)
        smallest, largest = scheme.activation_range
        stored = np.minimum(np.maximum(np.rint(values / scale) + zero_point, smallest), largest)
        apart = (stored - zero_point) * scale - values.astype(np.float64)
        return float((apart * apart).sum())

    if scheme.symmetric:
        share = min(shares, key=lambda share: error(low * share, high * share))
        expected = low * share, high * share
    else:
        above = high * min(shares, key=lambda share: error(low, high * share))
        expected = low * min(shares, key=lambda share: error(low * share, above)), above
    assert observed("mse", scheme, values.reshape(20, 2000)) == pytest.approx(expected)
    assert (low, high) != expected


def test_values_lie_within_half_a_bin_of_its_centre() -> None:
    values = np.random.default_rng(0).uniform(-5, 5, 300).astype(np.float32)
    histogram = Histogram()
    histogram.add(values.reshape(3, 100))
    centres, counts = histogram.values()
    apart = np.abs(values[:, None] - centres).min(1)
    assert apart.max() <= 8 / 2**14 / 2  # the next power of two, in 2**14 bins on each side
    assert apart.max() > 8 / 2**14 / 4
    np.testing.assert_allclose(np.repeat(centres, counts), np.sort(values), atol=8 / 2**14 / 2)


def test_small_values_have_bins_as_fine_as_large_ones() -> None:
    histogram = Histogram()
    histogram.add(np.linspace(0, 1e-3, 1000, dtype=np.float32))
    assert histogram.values()[1].tolist() == [1] * 1000


def test_values_stay_where_they_are_when_the_bins_widen() -> None:
    histogram = Histogram()
    histogram.add(np.array([3.0], np.float32))
    histogram.add(np.array([-12.0], np.float32))
    assert histogram.values()[0].tolist() == pytest.approx([-12, 3], abs=16 / 2**14 / 2)  # half a bin


def test_what_is_next_to_nothing_keeps_its_sign_however_far_the_bins_widen() -> None:
    histogram = Histogram()
    histogram.add(np.array([-1e-42, 1e-42], np.float32))
    histogram.add(np.array([1e30], np.float32))
    centres, counts = histogram.values()
    assert counts.tolist() == [1, 1, 1]
    assert centres[0] == -centres[1] < 0
    histogram.add(np.array([2.0**-50], np.float32))
    assert histogram.values()[1].tolist() == [1, 2, 1]


def test_a_scale_is_raised_only_where_its_bias_would_overflow() -> None:
    scale, bias = np.array([1e-9, 1e-9, 0.1], np.float32), np.array([1.0, 1e-4, -1.0], np.float32)
    found = spare_bias(scale, bias, 0.001)
    assert found.tolist() == pytest.approx([1 / (0.001 * 2**30), 1e-9, 0.1], rel=1e-6)
    assert spare_bias(scale[:1], bias[:1], 1e-3).tolist() == spare_bias(scale[:1], -bias[:1], 1e-3).tolist()


weights = hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-1e3, 1e3, width=32))


@given(weights, schemes, st.sampled_from([0, 1, 2]))
def test_weights_are_within_half_a_step(weight: np.ndarray, scheme: Scheme, axis: int) -> None:
    scale = weight_scale(weight, axis, scheme)
    stored = quantize_weight(weight, scale, axis, scheme)
    wide = scale.reshape([-1 if i == axis else 1 for i in range(3)]).astype(np.float64)
    assert scale.shape == (weight.shape[axis],)
    assert (scale >= np.float32(MIN_WEIGHT_SCALE)).all()
    assert np.abs(stored.astype(int)).max() <= scheme.weight_max
    assert (np.abs(stored * wide - weight) <= wide * 0.50001).all()  # float32 scales add parts in 10**7


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(np.float32, (5, 3), elements=st.sampled_from([0.0, 1e-8, -1e-8, 1e-3, 1.0])),
    st.floats(MIN_ACTIVATION_SCALE, 10),
)
def test_a_bias_never_overflows_however_dead_its_channel(
    bias: np.ndarray, weight: np.ndarray, input_scale: float
) -> None:
    scale = spare_bias(weight_scale(weight, 0, ASYMMETRIC), bias, input_scale)
    bias_scale = np.float32(input_scale) * scale
    steps = quantize_bias(bias, bias_scale).astype(np.float64)
    assert (scale > 0).all()
    assert np.abs(steps).max() <= 2.0**30 * (1 + 1e-6)  # float32 rounding of the raised scale
    assert (np.abs(steps * bias_scale - bias) <= 0.5001 * bias_scale.astype(np.float64)).all()
