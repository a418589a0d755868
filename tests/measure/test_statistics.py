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
    more_replicates,
    order_statistic,
    percentile,
    perhaps_fastest,
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


def test_early_stopping_counts_to_the_last_sample_and_to_its_risk() -> None:
    assert early_stopping([1.0, 2.0], 0.001) == 2.0  # both below the lowest thousandth: 1 in a million; one: 0.002
    assert early_stopping([1.0, 2.0], 0.5, risk=0.75) == 2.0  # chances of 1/4 and 1/2 come to the risk
    assert early_stopping([1.0, 2.0], 0.5, risk=0.74) is None


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
    counts = (1, 2, 3, 6, 7, 9, 10, 20, 50)
    cut = {count: int(interval([float(value) for value in range(count)])[0]) for count in counts}
    assert cut == {1: 0, 2: 0, 3: 0, 6: 0, 7: 1, 9: 1, 10: 2, 20: 6, 50: 19}


def test_intervals_that_touch_do_not_differ() -> None:
    here, five = Median(2.0, 1.0, 3.0, 5, counts=True), {"replicates": 5, "counts": True}
    assert not here.differs_from(Median(4.0, 3.0, 5.0, **five))
    assert not Median(4.0, 3.0, 5.0, **five).differs_from(here)
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


def _median(ms: float, spread: float = 0.5, replicates: int = 5, counts: bool = True) -> Median:
    return Median(ms, ms * (1 - spread), ms * (1 + spread), replicates, counts)


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        (_median(1.04), None),  # as good as equal: 5 % unless another share is asked for
        (_median(1 / 1.04), None),
        (_median(1.06), "cannot tell: the intervals overlap"),
        (_median(1 / 1.06), "cannot tell: the intervals overlap"),
        (_median(9.0), None),  # they differ
        (_median(1.0, replicates=4), "cannot tell from 4 replicates: 5 are needed"),
        (_median(9.0, replicates=2), "cannot tell from 2 replicates: 5 are needed"),
        (_median(9.0, replicates=1), "cannot tell from 1 replicate: 5 are needed"),
        (_median(9.0, replicates=1, counts=False), "cannot tell: times of an emulated device are no evidence"),
    ],
)
def test_doubt_says_why_nobody_can_tell(other: Median, doubt: str | None) -> None:
    assert _median(1.0).doubt(other) == other.doubt(_median(1.0)) == doubt


def test_medians_just_within_a_share_of_one_another_are_as_good_as_equal() -> None:
    assert _median(4.0).doubt(_median(5.0), within=0.25) is None
    assert _median(4.0).doubt(_median(5.01), within=0.25) is not None
    assert _median(20.0).doubt(_median(21.0)) is None


def test_a_row_of_bench_has_a_median_that_counts_unless_it_is_an_emulators() -> None:
    row = {"p50": 2.0, "low": 1.0, "high": 3.0, "replicates": 7, "flags": ["noisy"]}
    assert Median.of(row) == Median(2.0, 1.0, 3.0, 7, counts=True)
    assert not Median.of(row | {"flags": ["noisy", "emulated"]}).counts


def test_twice_as_many_replicates_may_tell_from_5_to_50() -> None:
    more = {taken: more_replicates(taken) for taken in (1, 2, 3, 5, 24, 25, 49, 50, 60)}
    assert more == {1: 5, 2: 5, 3: 6, 5: 10, 24: 48, 25: 50, 49: 50, 50: None, 60: None}


def test_what_may_be_the_fastest_is_what_does_not_differ_from_it() -> None:
    medians = {
        "slow": _median(9.0, 0.1),
        "close": _median(1.3, 0.2),
        "fast": _median(1.0, 0.2),
        "far": _median(4.0, 0.1),
    }
    assert perhaps_fastest(medians, lambda name: medians[name]) == ["fast", "close"]
    assert perhaps_fastest(["slow"], lambda name: medians[name]) == ["slow"]


def test_means_of_two_inferences_have_no_tail() -> None:
    found = summarise(timings([[1.0, 2.0, 3.0]] * 5, block=2), [1.0])
    assert (found.p50, found.p90, found.p99) == (2.0, None, None)


def test_what_replicates_tell_beside_their_samples_is_their_median() -> None:
    told = [
        *timings([[10.0] * 10], warm_load_ms=1.0, involuntary_switches=1, peak_rss_mb=None),
        *timings([[10.0] * 10], warm_load_ms=2.0, involuntary_switches=2, peak_rss_mb=7.0),
        *timings([[10.0] * 10], warm_load_ms=9.0, involuntary_switches=9, peak_rss_mb=3.0),
        *timings([[10.0] * 10], peak_rss_mb=4.0),
    ]
    found = summarise(told, [1.0])
    assert (found.warm_load_ms, found.peak_rss_mb) == (2.0, 7.0)
    assert found.switches_per_s == pytest.approx(20)  # 2 in 0.1 s


STEADY = [[1.0] * 9] * 5
FLAGGED = {
    "steady": (STEADY, ()),
    "hardly a tenth wide": ([[value] * 9 for value in (0.96, 1.05, 1.0, 1.0, 1.0)], ()),
    "one sample in each that is slow": ([[1.0, 1.0, 1.0, last, 1.0, 1.0] for last in (1.0, 2.0, 3.0, 9.0, 9.0)], ()),
    "one replicate of five that slows down": ([[1.0] * 6 + [1.5] * 3, *STEADY[1:]], ()),
    "the last replicate of five slow": ([*STEADY[1:], [1.08] * 9], ()),
    "the first replicate of five slow": ([[1.08] * 9, *STEADY[1:]], ()),
    "the later four of nine slow": ([[value] * 9 for value in (1, 1, 1, 1, 1, 1, 1.02, 1.09, 1.09)], ("drifting",)),
    "a slow end of a quarter": ([[1.0, 1.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1]] * 5, ()),
    "a slow last of four": ([[1.0, 1.2, 1.0, 1.1]] * 5, ("throttled",)),
    "a slow last quarter": ([[1.0] * 6 + [1.1] * 2] * 5, ("throttled",)),
}  # fmt: skip


@pytest.mark.parametrize("unit", [1.0, 0.125, 32.0])
@pytest.mark.parametrize("name", FLAGGED)
def test_flags_are_the_same_in_any_unit(name: str, unit: float) -> None:
    replicates, raised = FLAGGED[name]
    assert flags([[unit * sample for sample in samples] for samples in replicates]) == raised


def test_a_limit_itself_raises_no_flag() -> None:
    assert flags([[value] * 9 for value in (9.5, 10.5, 10.0, 10.0, 10.0)]) == ()
    assert flags([[20.0] * 50 + [21.0] * 50] * 5) == ()
    assert flags([[value] * 9 for value in (20.0, 20.0, 20.0, 21.0, 21.0)]) == ()
