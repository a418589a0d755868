"""Made-up records of the runner."""

from collections.abc import Sequence
from typing import Any

from edgekd.measure.records import Timing


def timings(replicates: Sequence[Sequence[float]], **changes: Any) -> list[Timing]:
    """A record for each replicate's samples in ms."""
    fields: dict[str, Any] = {"first_ms": 1.0, "cpu_ms_min": 1.0, "load_average": None, "peak_rss_mb": 1.0}
    fields |= {"batch": 1, "threads": 1} | changes
    return [Timing(samples_ms=tuple(samples), **fields) for samples in replicates]
