"""Latency statistics: pure functions of samples in ms."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import PositiveInt

from edgekd.measure.records import Timing
from edgekd.schema import Amount, Megabytes, Milliseconds, Positive, Schema

Flag = Literal["noisy", "throttled", "drifting", "emulated"]
T = TypeVar("T")
FALSE_ALARMS = 0.05
MIN_REPLICATES, MOST_REPLICATES = 5, 50  # that anything is claimed from, and that are asked for
NOISY_WIDTH = 0.10
NOISY_SWITCHES = 100  # per second
SLOWDOWN = 1.05


class Median(NamedTuple):
    """A median latency in ms, its interval, and whether it says something of the device; see `Latency`."""

    ms: float
    low: float
    high: float
    replicates: int
    counts: bool

    def differs_from(self, other: "Median") -> bool:
        """Return whether a difference may be claimed: real devices, 5 replicates or more each, disjoint intervals."""
        enough = min(self.replicates, other.replicates) >= MIN_REPLICATES and self.counts and other.counts
        return enough and (self.high < other.low or other.high < self.low)

    def doubt(self, other: "Median", within: float = SLOWDOWN - 1) -> str | None:
        """Why nobody can tell whether two differ; None where they do, or are `within` a share of one another."""
        fewest = min(self.replicates, other.replicates)
        if not (self.counts and other.counts):
            return "cannot tell: times of an emulated device are no evidence"
        if fewest < MIN_REPLICATES:
            return f"cannot tell from {fewest} replicate{'s' if fewest > 1 else ''}: {MIN_REPLICATES} are needed"
        if self.differs_from(other) or max(self.ms, other.ms) <= (1 + within) * min(self.ms, other.ms):
            return None
        return "cannot tell: the intervals overlap"

    def shared(self, by: int) -> "Median":
        """Return a batch's for each of its samples."""
        return self._replace(ms=self.ms / by, low=self.low / by, high=self.high / by)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Median":
        """Return that of a row of `bench`."""
        return cls(row["p50"], row["low"], row["high"], row["replicates"], "emulated" not in row["flags"])


def more_replicates(taken: int) -> int | None:
    """Return how many may tell apart what so many could not; None where nobody would take more."""
    return min(max(2 * taken, MIN_REPLICATES), MOST_REPLICATES) if taken < MOST_REPLICATES else None


def perhaps_fastest(candidates: Iterable[T], median: Callable[[T], Median]) -> list[T]:
    """Return the smallest median's candidate, then by their medians all of which no difference from it may be claimed.

    At least one candidate is needed.
    """
    best, *rest = sorted(candidates, key=lambda one: median(one).ms)
    return [best, *(one for one in rest if not median(best).differs_from(median(one)))]


class Latency(Schema):
    """A latency in ms: percentiles of all samples, and an interval over the medians of fresh-process replicates.

    `n` counts samples; means of several inferences hide the tail, and have no `p90` and `p99`. `throughput` is in
    samples of the batch per second, memory in 10^6 bytes. `load_ms` is the first load of a fresh process, from storage
    where the page cache can be emptied, `warm_load_ms` the second one. `switches_per_s` counts how often other
    processes took the CPU.
    """

    p50: Milliseconds
    p90: Milliseconds | None
    p99: Milliseconds | None
    low: Milliseconds
    high: Milliseconds
    n: PositiveInt
    replicates: PositiveInt
    first_ms: Milliseconds
    load_ms: Milliseconds
    warm_load_ms: Milliseconds | None = None
    peak_rss_mb: Megabytes | None
    model_rss_mb: Megabytes | None = None
    switches_per_s: Amount | None = None
    throughput: Positive
    flags: tuple[Flag, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it says something of the device: an emulated one's says how fast the emulator is."""
        return "emulated" not in self.flags

    @property
    def median(self) -> Median:
        """Return what a comparison needs."""
        return Median(self.p50, self.low, self.high, self.replicates, self.counts)

    def differs_from(self, other: "Latency") -> bool:
        """Return whether a difference may be claimed, as of their medians."""
        return self.median.differs_from(other.median)


def percentile(samples: Sequence[float], fraction: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan's type 7)."""
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def order_statistic(samples: Sequence[float], fraction: float) -> float:
    """A percentile as MLPerf's LoadGen takes it: the sample that ⌊n · fraction⌋ others do not exceed."""
    return sorted(samples)[min(int(len(samples) * fraction), len(samples) - 1)]


def false_alarm_rate(replicates: int, trim: int) -> float:
    """Chance that the intervals [x_(trim+1), x_(n-trim)] of two exchangeable groups of n are disjoint.

    It is 2 P(Hypergeometric(2n, n, n) <= trim): x's interval lies below y's exactly when the n smallest of all hold
    at most `trim` y's.
    No distribution is assumed: interleaving makes the order of two equal candidates' replicates a matter of chance.
    """
    n = replicates
    return 2 * sum(math.comb(n, k) ** 2 for k in range(trim + 1)) / math.comb(2 * n, n)


def _trim(replicates: int) -> int:
    trim = 0
    while false_alarm_rate(replicates, trim + 1) <= FALSE_ALARMS:
        trim += 1
    return trim


def interval(medians: Sequence[float]) -> tuple[float, float]:
    """The narrowest order-statistic interval whose disjointness is a false alarm at most 1 in 20: for 5, min to max."""
    ordered, trim = sorted(medians), _trim(len(medians))
    return ordered[trim], ordered[-1 - trim]


def early_stopping(samples: Sequence[float], fraction: float, risk: float = 0.01) -> float | None:
    """MLPerf LoadGen's estimate of a percentile, an upper bound at confidence 1 - risk; None for too few samples.

    The t-th largest sample with t = max{t : BinomCDF(t; n, 1 - fraction) <= risk}, hence n >= 64 for p90, 662 for p99.
    """
    n, p = len(samples), 1 - fraction
    log_terms = (_log_binomial(n, k, p) for k in range(n + 1))
    below = 0
    for t, cumulative in enumerate(accumulate(math.exp(term) for term in log_terms)):
        if cumulative > risk:
            break
        below = t
    return sorted(samples)[n - below] if below else None


def _log_binomial(n: int, k: int, p: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(p) + (n - k) * math.log1p(-p)


class Percentiles(NamedTuple):
    """What a latency says that its samples alone decide, in ms; see `Latency`."""

    p50: float
    p90: float | None
    p99: float | None
    low: float
    high: float
    n: int
    replicates: int


def percentiles(replicates: Sequence[Sequence[float]]) -> Percentiles:
    """Percentiles of all samples, and the interval over the medians of replicates."""
    pooled = sorted(sample for samples in replicates for sample in samples)
    low, high = interval([percentile(samples, 0.5) for samples in replicates])
    p50, p90, p99 = (percentile(pooled, fraction) for fraction in (0.5, 0.9, 0.99))
    return Percentiles(p50, p90, p99, low, high, len(pooled), len(replicates))


def summarise(timings: Sequence[Timing], load_ms: Sequence[float]) -> Latency:
    """One latency from its replicates: first and loads are medians, memory is the largest."""
    replicates = [timing.samples_ms for timing in timings]
    found = percentiles(replicates)
    if any(timing.block > 1 for timing in timings):
        found = found._replace(p90=None, p99=None)
    switches = _middle(_switches_per_second(timing) for timing in timings)
    return Latency(
        **found._asdict(),
        first_ms=percentile([timing.first_ms for timing in timings], 0.5),
        load_ms=percentile(load_ms, 0.5),
        warm_load_ms=_middle(timing.warm_load_ms for timing in timings),
        peak_rss_mb=max(_known(timing.peak_rss_mb for timing in timings), default=None),
        model_rss_mb=max(_known(timing.model_rss_mb for timing in timings), default=None),
        switches_per_s=switches,
        throughput=1000 * timings[0].batch * found.n / math.fsum(chain.from_iterable(replicates)),
        flags=flags(replicates, switches if timings[0].threads == 1 else None),  # several preempt one another
    )


def _switches_per_second(timing: Timing) -> float | None:
    switches = timing.involuntary_switches
    return None if switches is None else 1000 * switches / sum(timing.samples_ms)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _middle(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return percentile(known, 0.5) if known else None


def flags(replicates: Sequence[Sequence[float]], switches_per_s: float | None = None) -> tuple[Flag, ...]:
    """Reasons to mistrust a latency.

    noisy: the interval is wider than 10 % of its middle, or other processes took the CPU so often that, at a
    millisecond each time, it was theirs for 10 % of the time. throttled: within replicates, the last quarter's median
    is typically 5 % above the first's. drifting: the later half of the replicates is 5 % off the earlier half.
    """
    medians = [percentile(samples, 0.5) for samples in replicates]
    low, high = interval(medians)
    slowdown = percentile([_slowdown(samples) for samples in replicates], 0.5)
    half = len(medians) // 2
    drift = percentile(medians[-half:], 0.5) / percentile(medians[:half], 0.5) if half else 1.0
    checks: tuple[tuple[Flag, bool], ...] = (
        ("noisy", high - low > NOISY_WIDTH * percentile(medians, 0.5) or (switches_per_s or 0) > NOISY_SWITCHES),
        ("throttled", slowdown > SLOWDOWN),
        ("drifting", max(drift, 1 / drift) > SLOWDOWN),
    )
    return tuple(flag for flag, raised in checks if raised)


def _slowdown(samples: Sequence[float]) -> float:
    quarter = max(1, len(samples) // 4)
    return float(np.median(samples[-quarter:]) / np.median(samples[:quarter]))
