"""Two result files, row by row: a difference is claimed only where the intervals leave no room for chance."""

from pathlib import Path
from typing import Literal

from edgekd.errors import BadInputError
from edgekd.measure.results import Row, read_rows
from edgekd.schema import Schema

Verdict = Literal["same", "faster", "slower", "regression", "metric drop", "missing", "new"]
FAILURES: frozenset[Verdict] = frozenset({"regression", "metric drop", "missing"})
Key = tuple[str, str, int, int]


class Difference(Schema):
    """One target and variant before and after; `change` is after / before - 1 of the median latency."""

    target: str
    label: str
    batch: int
    threads: int
    before_ms: float | None = None
    after_ms: float | None = None
    change: float | None = None
    before_metric: float | None = None
    after_metric: float | None = None
    verdict: Verdict


def compare_files(
    before: Path, after: Path, threshold: float = 0.05, metric_drop: float = 0.01
) -> tuple[list[Difference], bool]:
    """Differences, and whether one of them is a regression.

    A regression is a slowdown of at least `threshold` with disjoint intervals, a metric that fell by more than
    `metric_drop`, or a row that vanished. Raises BadInputError for rows without identity, files that share no row,
    or rows from different machines.
    """
    old, new = _latest(before), _latest(after)
    shared = [key for key in old if key in new]
    if not shared:
        raise BadInputError(f"{before} and {after} measure nothing in common: {_names(old)}; {_names(new)}")
    for key in shared:
        _same_machine(old[key], new[key])
    keys = [*old, *(key for key in new if key not in old)]
    rows = [_difference(key, old.get(key), new.get(key), threshold, metric_drop) for key in keys]
    return rows, any(row.verdict in FAILURES for row in rows)


def _latest(path: Path) -> dict[Key, Row]:
    """A later row replaces an earlier one of the same key."""
    rows = {row.key: row for row in read_rows(path)}
    if not rows:
        raise BadInputError(f"{path}: no rows")
    return rows


def _names(rows: dict[Key, Row]) -> str:
    return ", ".join(f"{target} {label} (batch {batch}, threads {threads})" for target, label, batch, threads in rows)


def _same_machine(before: Row, after: Row) -> None:
    if before.machine.identity != after.machine.identity:
        names = (
            f"{cpu} ({arch}, {cores} cores)" for cpu, arch, cores in (before.machine.identity, after.machine.identity)
        )
        raise BadInputError(f"{before.target} {before.label}: measured on different machines: {' and '.join(names)}")


def _difference(key: Key, before: Row | None, after: Row | None, threshold: float, metric_drop: float) -> Difference:
    target, label, batch, threads = key
    before_ms = before.latency.p50 if before and before.latency else None
    after_ms = after.latency.p50 if after and after.latency else None
    return Difference(
        target=target,
        label=label,
        batch=batch,
        threads=threads,
        before_ms=before_ms,
        after_ms=after_ms,
        change=after_ms / before_ms - 1 if before_ms and after_ms else None,
        before_metric=before.metric if before else None,
        after_metric=after.metric if after else None,
        verdict=_verdict(before, after, threshold, metric_drop),
    )


def _verdict(before: Row | None, after: Row | None, threshold: float, metric_drop: float) -> Verdict:
    if before is None:
        return "new"
    if after is None or (before.latency and not after.latency) or (before.metric is not None and after.metric is None):
        return "missing"
    if before.metric is not None and after.metric is not None and before.metric - after.metric > metric_drop:
        return "metric drop"
    if not (before.latency and after.latency and before.latency.differs_from(after.latency)):
        return "same"
    change = after.latency.p50 / before.latency.p50 - 1
    if change < 0:
        return "faster"
    return "regression" if change >= threshold else "slower"
