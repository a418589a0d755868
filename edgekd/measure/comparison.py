"""Two result files, row by row: a difference is claimed only where the intervals leave no room for chance."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import BadInputError
from edgekd.measure.records import Scenario
from edgekd.measure.results import Key, Row, read_rows
from edgekd.schema import Schema

Verdict = Literal["same", "faster", "slower", "regression", "metric drop", "missing", "new", "no evidence"]
FAILURES: frozenset[Verdict] = frozenset({"regression", "metric drop", "missing"})
WHAT_MAY_DIFFER = ("artifact", "inputs", "options", "precision", "runtime_version", "runner")
NO_OPTIONS = {"precision", "engine"}  # told by itself; whether a kept engine served, which changes no inference
Identity = tuple[str, str, int]
Place = tuple[Key, Identity]


class Change(Schema):
    """One target and variant on one machine before and after; `change` is after / before - 1 of the median latency.

    `changed` names what else is not as it was, and may be the reason. `machine` is told where there are several.
    Times of an emulated device are no evidence: they are not told, and only the metric is compared.
    """

    target: str
    label: str
    batch: int
    threads: int
    scenario: Scenario = "single-stream"
    affinity: tuple[int, ...] | None = None
    machine: str | None = None
    before_ms: float | None = None
    after_ms: float | None = None
    change: float | None = None
    before_metric: float | None = None
    after_metric: float | None = None
    verdict: Verdict
    changed: tuple[str, ...] = ()


def compare_files(
    before: Path, after: Path, threshold: float = 0.05, metric_drop: float = 0.01
) -> tuple[list[Change], bool]:
    """Differences, and whether one of them is a regression.

    A regression is a slowdown of at least `threshold` with disjoint intervals, a metric that fell by more than
    `metric_drop`, or a row that vanished. Raises BadInputError for rows without identity, files that share no row,
    or rows from different machines.
    """
    old, new = _latest(before), _latest(after)
    shared = {key for key, _ in old} & {key for key, _ in new}
    if not shared:
        raise BadInputError(f"{before} and {after} measure nothing in common: {_names(old)}; {_names(new)}")
    for key in shared:
        _same_machine(key, [machine for k, machine in old if k == key], [machine for k, machine in new if k == key])
    places = dict.fromkeys((*old, *new))
    several = len({machine for _, machine in places}) > 1
    rows = [_change(place, old.get(place), new.get(place), threshold, metric_drop, several) for place in places]
    return rows, any(row.verdict in FAILURES for row in rows)


def _latest(path: Path) -> dict[Place, Row]:
    """A later row replaces an earlier one of the same key and machine."""
    rows = {(row.key, row.machine.identity): row for row in read_rows(path)}
    if not rows:
        raise BadInputError(f"{path}: no rows")
    for row in rows.values():
        if row.unidentified:
            lacking = ", ".join(row.unidentified)
            raise BadInputError(
                f"{path}: {row.target} {row.label} does not say {lacking}: measure it again to compare it"
            )
    return rows


def _names(rows: Iterable[Place]) -> str:
    return ", ".join(map(str, dict.fromkeys(key for key, _ in rows)))


def _same_machine(key: Key, before: list[Identity], after: list[Identity]) -> None:
    if not set(before) & set(after):
        names = (f"{cpu} ({arch}, {cores} cores)" for cpu, arch, cores in (before[0], after[0]))
        raise BadInputError(f"{key.target} {key.label}: measured on different machines: {' and '.join(names)}")


def _changed(before: Row | None, after: Row | None) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    return tuple(name for name in WHAT_MAY_DIFFER if _told(before, name) != _told(after, name))


def _told(row: Row, name: str) -> Any:
    told = getattr(row, name)
    return {key: told[key] for key in told.keys() - NO_OPTIONS} if name == "options" else told


def _change(
    place: Place, before: Row | None, after: Row | None, threshold: float, metric_drop: float, several: bool
) -> Change:
    key, machine = place
    before_ms, after_ms = _p50(before), _p50(after)
    return Change(
        **key._asdict(),
        machine=machine[0] if several else None,
        before_ms=before_ms,
        after_ms=after_ms,
        change=after_ms / before_ms - 1 if before_ms and after_ms else None,
        before_metric=before.metric if before else None,
        after_metric=after.metric if after else None,
        verdict=_verdict(before, after, threshold, metric_drop),
        changed=_changed(before, after),
    )


def _p50(row: Row | None) -> float | None:
    return row.latency.p50 if row and row.latency and row.latency.counts else None


def _verdict(before: Row | None, after: Row | None, threshold: float, metric_drop: float) -> Verdict:
    if before is None:
        return "new"
    if after is None or (before.latency and not after.latency) or (before.metric is not None and after.metric is None):
        return "missing"
    if before.metric is not None and after.metric is not None and before.metric - after.metric > metric_drop:
        return "metric drop"
    if not (before.latency and after.latency):
        return "same"
    if not (before.latency.counts and after.latency.counts):
        return "no evidence"
    if not before.latency.differs_from(after.latency):
        return "same"
    change = after.latency.p50 / before.latency.p50 - 1
    if change < 0:
        return "faster"
    return "regression" if change >= threshold else "slower"
