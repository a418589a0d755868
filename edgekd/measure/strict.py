"""MLPerf Mobile's single-stream rules: at least 1024 inferences and 60 s, the 90th percentile, found again within 5 %.

https://github.com/mlcommons/mobile_app_open and LoadGen's early stopping.
"""

from collections.abc import Sequence

from edgekd.measure.statistics import early_stopping, order_statistic
from edgekd.schema import Schema

SECONDS, COUNT, REPLICATES = 60.0, 1024, 2
WITHIN = 1.05
PERCENTILE = 0.9


class Strict(Schema):
    """The 90th percentile in ms as LoadGen counts it, its bound by early stopping, and whether the rules were kept.

    `replicated` is the largest of the replicates' percentiles over the smallest; `broken` names each rule that was not
    kept, with what was found.
    """

    p90: float
    p90_bound: float | None
    replicated: float
    broken: tuple[str, ...] = ()


def strict(replicates: Sequence[Sequence[float]]) -> Strict:
    """Judge each replicate's samples, in ms; the percentile is that of the slowest replicate."""
    percentiles = [order_statistic(samples, PERCENTILE) for samples in replicates]
    slowest = max(replicates, key=lambda samples: order_statistic(samples, PERCENTILE))
    fewest, shortest = min(map(len, replicates)), min(map(sum, replicates)) / 1000
    ratio = max(percentiles) / min(percentiles)
    checks = (
        (len(replicates) < REPLICATES, f"{len(replicates)} replicate, not {REPLICATES}"),
        (fewest < COUNT, f"{fewest} inferences, fewer than {COUNT}"),
        (shortest < SECONDS, f"{shortest:.1f} s of inferences, less than {SECONDS:g}"),
        (ratio > WITHIN, f"replicates {100 * (ratio - 1):.1f} % apart, more than {100 * (WITHIN - 1):.0f}"),
    )
    return Strict(
        p90=max(percentiles),
        p90_bound=early_stopping(slowest, PERCENTILE),
        replicated=ratio,
        broken=tuple(reason for failed, reason in checks if failed),
    )
