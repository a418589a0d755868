import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.measure.statistics import (
    Latency,
    Median,
    early_stopping,
    false_alarm_rate,
    flags,
    interval,
    order_statistic,
    percentile,
    summarise,
)
from tests.measure.timings import timings

positive = st.floats(1e-3, 1e4)


@given(st.lists(positive, min_size=1, max_size=200), st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_numpys(samples: list[float], fraction: float) -> None:
    # two ways to round one interpolation: a few ulp
    assert percentile(samples, fraction) == pytest.approx(float(np.quantile(samples, fraction)), rel=1e-12)


def _stopping_rank(n: int, numerator: int) -> int:
    """max{t : P(Binomial(n, numerator/100) <= t) <= 1/100}, in exact arithmetic."""
    p, cumulative, rank = Fraction(numerator, 100), Fraction(0), -1
    for t in range(n + 1):
        cumulative += math.comb(n, t) * p**t * (1 - p) ** (n - t)
        if cumulative > Fraction(1, 100):
            break
        rank = t
    return rank


@pytest.mark.parametrize(("fraction", "numerator"), [(0.9, 10), (0.99, 1), (0.5, 50)])
@pytest.mark.parametrize("n", [10, 63, 64, 200, 661, 662, 1000])
def test_early_stopping_is_its_definition(fraction: float, numerator: int, n: int) -> None:
    samples = list(np.random.default_rng(n).permutation(np.arange(1.0, n + 1)))
    rank = _stopping_rank(n, numerator)
    assert early_stopping(samples, fraction) == (n + 1 - rank if rank > 0 else None)


@pytest.mark.parametrize(("fraction", "needed"), [(0.9, 64), (0.99, 662)])
def test_early_stopping_needs_as_many_samples_as_mlperf_says(fraction: float, needed: int) -> None:
    assert early_stopping([1.0] * (needed - 1), fraction) is None
    assert early_stopping([1.0] * needed, fraction) == 1.0


def test_early_stopping_bounds_the_percentile_from_above() -> None:
    rng = np.random.default_rng(0)
    true_p90 = math.exp(1.2815515655446004)  # of a standard log-normal
    estimates = [early_stopping(list(rng.lognormal(size=200)), 0.9) for _ in range(1000)]
    failures = sum(estimate is None or estimate < true_p90 for estimate in estimates)
    assert failures <= 21  # risk 1 %: 10 expected, 21 is 3.5 standard deviations above


@pytest.mark.parametrize(("n", "trim"), [(2, 0), (3, 0), (4, 1), (5, 0), (5, 1)])
def test_false_alarm_rate_counts_orderings(n: int, trim: int) -> None:
    disjoint = total = 0
    for chosen in itertools.combinations(range(2 * n), n):
        x, y = list(chosen), [rank for rank in range(2 * n) if rank not in chosen]
        disjoint += x[n - 1 - trim] < y[trim] or y[n - 1 - trim] < x[trim]
        total += 1
    assert false_alarm_rate(n, trim) == pytest.approx(disjoint / total)


def test_five_replicates_span_from_smallest_to_largest() -> None:
    assert interval([3.0, 1.0, 2.0, 5.0, 4.0]) == (1.0, 5.0)
    assert interval([float(value) for value in range(10)]) == (2.0, 7.0)


def _drifting_medians(rng: np.random.Generator, pairs: int, effect: float = 1.0) -> tuple[list[float], list[float]]:
    """Medians of two candidates measured A B, B A, … on a machine that warms up, wanders and is at times disturbed."""
    slots = 2 * pairs
    drift = rng.uniform(0, 0.1) * np.linspace(0, 1, slots) + np.cumsum(rng.normal(0, 0.01, slots))
    disturbed = np.zeros(slots)
    for slot in range(slots):  # a neighbour comes in one slot of ten and stays for two on average
        stays = slot > 0 and disturbed[slot - 1] > 0 and rng.random() < 0.5
        disturbed[slot] = rng.uniform(0.05, 0.3) if stays or rng.random() < 0.1 else 0
    medians = np.exp(drift + rng.normal(0, 0.01, slots)) * (1 + disturbed)
    first = [slot for slot in range(slots) if (slot % 2 == 0) == (slot // 2 % 2 == 0)]
    second = [slot for slot in range(slots) if slot not in first]
    return list(medians[first]), list(effect * medians[second])


def _latency(medians: list[float]) -> Latency:
    return summarise(timings([[median] * 3 for median in medians]), [1.0])


@pytest.mark.parametrize("replicates", [5, 7, 10])
def test_equal_candidates_differ_at_most_once_in_twenty(replicates: int) -> None:
    rng = np.random.default_rng(replicates)
    trials = [_drifting_medians(rng, replicates) for _ in range(1000)]
    alarms = sum(_latency(a).differs_from(_latency(b)) for a, b in trials)
    assert alarms / len(trials) <= 0.05


def test_a_difference_of_a_quarter_is_seen_on_the_same_machine() -> None:
    rng = np.random.default_rng(1)
    trials = [_drifting_medians(rng, 10, effect=1.25) for _ in range(300)]
    seen = sum(_latency(a).differs_from(_latency(b)) for a, b in trials)
    assert seen / len(trials) > 0.8  # what the protocol is good for, not a property of the method


def test_an_emulators_times_claim_nothing() -> None:
    slow = _latency([9.0] * 5)
    emulated = slow.model_copy(update={"flags": ("emulated",)})
    assert _latency([1.0] * 5).differs_from(slow)
    assert not _latency([1.0] * 5).differs_from(emulated)
    assert not emulated.differs_from(_latency([1.0] * 5))


def test_fewer_than_five_replicates_claim_nothing() -> None:
    assert not _latency([1.0] * 4).differs_from(_latency([9.0] * 5))
    assert _latency([1.0] * 5).differs_from(_latency([9.0] * 5))


@given(st.lists(st.lists(positive, min_size=1, max_size=30), min_size=1, max_size=9))
def test_a_summary_is_consistent(replicates: list[list[float]]) -> None:
    latency = summarise(timings(replicates, batch=4, peak_rss_mb=None), [1.0])
    assert latency.p50 <= latency.p90 <= latency.p99
    assert latency.low <= latency.high
    assert latency.n == sum(map(len, replicates))
    assert latency.peak_rss_mb is None
    mean = sum(map(sum, replicates)) / latency.n
    assert latency.throughput == pytest.approx(4000 / mean)


def test_what_a_runner_does_not_tell_is_none_and_what_it_tells_is_summed_up() -> None:
    quiet = summarise(timings([[1.0] * 9] * 5), [3.0, 1.0, 2.0])
    assert (quiet.load_ms, quiet.warm_load_ms, quiet.model_rss_mb, quiet.switches_per_s) == (2.0, None, None, None)
    told = [
        *timings([[10.0] * 10], warm_load_ms=1.0, model_rss_mb=5.0, involuntary_switches=20),
        *timings([[10.0] * 10] * 2, warm_load_ms=2.0, model_rss_mb=4.0, involuntary_switches=30),
    ]
    latency = summarise(told, [1.0])
    assert (latency.warm_load_ms, latency.model_rss_mb) == (2.0, 5.0)
    assert latency.switches_per_s == pytest.approx(300)  # 30 in 0.1 s
    assert latency.flags == ("noisy",)
    two = [timing.model_copy(update={"threads": 2}) for timing in told]
    assert summarise(two, [1.0]).flags == ()  # its own threads take the CPU from one another


def test_a_steady_machine_raises_no_flag() -> None:
    assert flags([[1.0] * 100] * 5) == ()


def test_flags_name_what_happened() -> None:
    for last, said in ((1.04, ()), (1.06, ("throttled",))):  # of the first quarter
        assert flags([[1.0] * 50 + [last] * 50] * 5) == said
    assert flags([[1.0] * 50 + [0.8] * 50] * 5) == ()  # warming up
    assert flags([[value] * 9 for value in (1.0, 1.0, 1.15, 1.0, 1.0)]) == ("noisy",)
    assert flags([[1.0] * 100] * 5, switches_per_s=120) == ("noisy",)
    assert flags([[1.0] * 100] * 5, switches_per_s=80) == ()
    assert flags([[value] * 9 for value in (1.0, 1.0, 1.05, 1.08, 1.08)]) == ("drifting",)
    assert flags([[value] * 9 for value in (1.08, 1.08, 1.05, 1.0, 1.0)]) == ("drifting",)  # to the faster, too


def test_a_summary_by_hand() -> None:
    """Three replicates whose medians are 2, 3 and 4; of all samples in order 1 1 2 3 3 4 4 5 9."""
    told = [
        *timings([[1.0, 2.0, 3.0]], first_ms=7.0, peak_rss_mb=5.0, batch=2),
        *timings([[1.0, 3.0, 9.0]], first_ms=9.0, peak_rss_mb=8.0, batch=2),
        *timings([[4.0, 4.0, 5.0]], first_ms=8.0, peak_rss_mb=6.0, batch=2),
    ]
    found = summarise(told, [4.0, 1.0, 3.0, 2.0])
    assert (found.p50, found.p90, found.p99) == (3.0, pytest.approx(5.8), pytest.approx(8.68))
    assert (found.low, found.high, found.n, found.replicates) == (2.0, 4.0, 9, 3)
    assert (found.first_ms, found.load_ms, found.peak_rss_mb) == (8.0, 2.5, 8.0)
    assert found.throughput == pytest.approx(1000 * 2 * 9 / 32)
    assert found.median == Median(3.0, 2.0, 4.0, 3, counts=True)


@pytest.mark.parametrize(
    ("count", "fraction", "rank"), [(1, 0.9, 0), (10, 0.9, 9), (11, 0.9, 9), (100, 0.99, 99), (4, 0.5, 2), (3, 1.0, 2)]
)
def test_an_order_statistic_is_mlperfs(count: int, fraction: float, rank: int) -> None:
    assert order_statistic([float(count - value) for value in range(count)], fraction) == rank + 1


def test_an_interval_is_cut_while_equal_groups_fall_apart_at_most_once_in_twenty() -> None:
    """Of two groups of 7 whose two smallest and largest are cut, 2 (1 + 49 + 441) / 3432 = 0.29 do; of one, 0.03."""
    assert [false_alarm_rate(7, trim) for trim in (1, 2)] == [pytest.approx(100 / 3432), pytest.approx(982 / 3432)]
    cut = {count: int(interval([float(value) for value in range(count)])[0]) for count in (1, 2, 3, 6, 7, 9, 10, 20)}
    assert cut == {1: 0, 2: 0, 3: 0, 6: 0, 7: 1, 9: 1, 10: 2, 20: 6}


def test_intervals_that_touch_do_not_differ() -> None:
    here, five = Median(2.0, 1.0, 3.0, 5, counts=True), {"replicates": 5, "counts": True}
    assert not here.differs_from(Median(4.0, 3.0, 5.0, **five))
    assert here.differs_from(Median(4.0, 3.1, 5.0, **five))
    assert Median(4.0, 3.1, 5.0, **five).differs_from(here)
    assert not here.differs_from(Median(4.0, 3.1, 5.0, 4, counts=True))
    assert not here.differs_from(Median(4.0, 3.1, 5.0, 5, counts=False))


def test_flags_begin_beyond_their_limits() -> None:
    assert flags([[1.0] * 9] * 5, switches_per_s=100) == ()
    assert flags([[value] * 9 for value in (0.96, 1.05, 1.0, 1.0, 1.0)]) == ()
    assert flags([[value] * 9 for value in (0.94, 1.05, 1.0, 1.0, 1.0)]) == ("noisy",)
    assert flags([[1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0]] * 5) == ()  # neither the first quarter nor the last
    assert flags([[1.0], [1.2]]) == ("noisy", "drifting")
    assert flags([[1.0]]) == ()
    assert flags([[1.0, 2.0, 2.0]]) == ("throttled",)
