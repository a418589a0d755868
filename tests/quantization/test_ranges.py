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
    assert tail.min() <= low < 0 < high < tail.max()


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
