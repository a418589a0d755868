"""Two result files, row by row: a difference is claimed only where the intervals leave no room for chance."""

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgekd.errors import BadInputError
from edgekd.measure.records import Scenario
from edgekd.measure.results import IDENTITY, Key, Row, iterate_rows
from edgekd.measure.statistics import Median
from edgekd.metrics import Scale
from edgekd.schema import Schema

Verdict = Literal["same", "faster", "slower", "regression", "metric drop", "missing", "new", "unclear"]
FAILURES: frozenset[Verdict] = frozenset({"regression", "metric drop", "missing"})
WHAT_MAY_DIFFER = ("artifact", "inputs", "options", "precision", "runtime_version", "runner")
ARTIFACT = WHAT_MAY_DIFFER.index("artifact")
HOW = ("threads", "scenario", "affinity")  # of two rows of one file; those of two files pair by it
NO_OPTIONS = {"precision", "engine"}  # told by itself; whether a kept engine served, which changes no inference
Identity = tuple[str, str, int]
Place = tuple[Key, Identity]
NAMED = 3  # of the rows that two files have not in common


class Seen(NamedTuple):
    """What a comparison holds of a row: `told` are the values of `WHAT_MAY_DIFFER`."""

    median: Median | None
    metric: float | None
    scale: Scale
    told: tuple[Any, ...]

    @property
    def unidentified(self) -> list[str]:
        """Names of what the row does not say, and without which it cannot be compared."""
        return [name for name in IDENTITY if self.told[WHAT_MAY_DIFFER.index(name)] is None]


_NOTHING = Seen(None, None, Scale("metric"), ())


class Change(Schema):
    """One target and variant on one machine before and after; `change` is after / before - 1 of the median latency.

    `changed` names what else is not as it was, and may be the reason. `machine` is told where there are several.
    `outputs_db` is the signal to noise of the output that differs most, where two models were run on the same inputs.
    `reason` says why it is unclear whether the times differ, `next` what to type to make it clear. `replicates` counts
    those before and after. Neither they nor the times of an emulated device are told.
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
    metric_unit: str = "%"
    outputs_db: float | None = None
    verdict: Verdict
    reason: str | None = None
    replicates: tuple[int, int] | None = None
    next: str | None = None
    changed: tuple[str, ...] = ()


def compare_files(
    before: Path,
    after: Path,
    threshold: float = 0.05,
    metric_drop: float = 0.01,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[list[Change], bool]:
    """Differences, and whether one of them is a regression.

    Of several rows of one file that have the same key and machine the last one counts, with a warning where they
    measured several models. A regression is a slowdown of at least `threshold` with disjoint intervals, a metric that
    got worse by more than `metric_drop` (of a fraction itself, of all else that share), or a row that vanished. Raises
    BadInputError for rows without identity, files that share no row, or rows from different machines or of different
    metrics.
    """
    old, new = _latest(before, warn), _latest(after, warn)
    machines, other = _machines(old), _machines(new)
    shared = machines.keys() & other.keys()
    if not shared:
        raise BadInputError(f"{before} and {after} measure nothing in common: {_names(machines)}; {_names(other)}")
    for key in shared:
        _same_machine(key, machines[key], other[key])
    places = dict.fromkeys((*old, *new))
    several = len({machine for _, machine in places}) > 1
    rows = [_change(place, old.get(place), new.get(place), threshold, metric_drop, several) for place in places]
    return rows, any(row.verdict in FAILURES for row in rows)


def compare_rows(before: Row, after: Row, threshold: float = 0.05, metric_drop: float = 0.01) -> Change:
    """The difference of two rows that were measured in turns, whatever they measure; named as the later one.

    Raises BadInputError for rows of other batches, whose times are of other work.
    """
    if before.batch != after.batch:
        raise BadInputError(f"measured in batches of {before.batch} and of {after.batch}: such times do not compare")
    place = (after.key, after.machine.identity)
    change = _change(place, _seen(before), _seen(after), threshold, metric_drop, several=False)
    how = tuple(name for name in HOW if getattr(before, name) != getattr(after, name))
    return change.model_copy(update={"changed": change.changed + how})


def _latest(path: Path, warn: Callable[[str], None]) -> dict[Place, Seen]:
    """A later row replaces an earlier one of the same key and machine, perhaps of another model."""
    rows, others = dict[Place, Seen](), dict[Key, None]()
    for found in iterate_rows(path):
        place, seen = (found.key, found.machine.identity), _seen(found)
        if place in rows and rows[place].told[ARTIFACT] != seen.told[ARTIFACT]:
            others[found.key] = None
        rows[place] = seen
    if others:
        warn(f"{path}: several models were measured as {_names(others)}: the last one of each counts")
    if not rows:
        raise BadInputError(f"{path}: no rows")
    for (key, _), row in rows.items():
        if row.unidentified:
            lacking = ", ".join(row.unidentified)
            raise BadInputError(
                f"{path}: {key.target} {key.label} does not say {lacking}: measure it again to compare it"
            )
    return rows


def _seen(row: Row) -> Seen:
    told = tuple(_told(row, name) for name in WHAT_MAY_DIFFER)
    return Seen(row.latency.median if row.latency else None, row.metric, row.scale, told)


def _told(row: Row, name: str) -> Any:
    told = getattr(row, name)
    if name == "options":
        return {key: told[key] for key in told.keys() - NO_OPTIONS}
    return told and sys.intern(told)  # the same in most rows


def _machines(places: Iterable[Place]) -> dict[Key, list[Identity]]:
    """Where each key was measured."""
    machines: dict[Key, list[Identity]] = {}
    for key, machine in places:
        machines.setdefault(key, []).append(machine)
    return machines


def _names(keys: Mapping[Key, Any]) -> str:
    more = len(keys) - NAMED
    return ", ".join([*map(str, islice(keys, NAMED)), *([f"{more} more"] if more > 0 else [])])


def _same_machine(key: Key, before: list[Identity], after: list[Identity]) -> None:
    if not set(before) & set(after):
        names = (f"{cpu} ({arch}, {cores} cores)" for cpu, arch, cores in (before[0], after[0]))
        raise BadInputError(f"{key.target} {key.label}: measured on different machines: {' and '.join(names)}")


def _same_metric(key: Key, before: Seen, after: Seen) -> None:
    if before.metric is not None and after.metric is not None and before.scale.name != after.scale.name:
        names = f"{before.scale.name} and {after.scale.name}"
        raise BadInputError(f"{key.target} {key.label}: scored by different metrics: {names}")


def _changed(before: Seen | None, after: Seen | None) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    told = zip(WHAT_MAY_DIFFER, before.told, after.told, strict=True)
    return tuple(name for name, old, new in told if old != new)


def _change(
    place: Place, before: Seen | None, after: Seen | None, threshold: float, metric_drop: float, several: bool
) -> Change:
    key, machine = place
    if before and after:
        _same_metric(key, before, after)
    before_ms, after_ms = _p50(before), _p50(after)
    verdict, reason = _verdict(before, after, threshold, metric_drop)
    return Change(
        **key._asdict(),
        machine=machine[0] if several else None,
        before_ms=before_ms,
        after_ms=after_ms,
        change=after_ms / before_ms - 1 if before_ms and after_ms else None,
        before_metric=before.metric if before else None,
        after_metric=after.metric if after else None,
        metric_unit=(after or before or _NOTHING).scale.unit,
        verdict=verdict,
        reason=reason,
        replicates=_replicates(before, after),
        changed=_changed(before, after),
    )


def _p50(row: Seen | None) -> float | None:
    return row.median.ms if row and row.median and row.median.counts else None


def _replicates(*sides: Seen | None) -> tuple[int, int] | None:
    found = [side.median.replicates for side in sides if side and side.median and side.median.counts]
    return (found[0], found[1]) if len(found) == len(sides) else None


def _verdict(
    before: Seen | None, after: Seen | None, threshold: float, metric_drop: float
) -> tuple[Verdict, str | None]:
    """The verdict and, where it is unclear, the reason."""
    if before is None:
        return "new", None
    if after is None or (before.median and not after.median) or (before.metric is not None and after.metric is None):
        return "missing", None
    if before.metric is not None and after.metric is not None:
        allowed = after.scale.allowance(metric_drop, before.metric)
        if after.scale.gain(before.metric, after.metric) > allowed:
            return "metric drop", None
    if not (before.median and after.median):
        return "same", None
    if doubt := before.median.doubt(after.median, threshold):
        return "unclear", doubt
    return _speed(before.median, after.median, threshold), None


def _speed(before: Median, after: Median, threshold: float) -> Verdict:
    if not before.differs_from(after):
        return "same"
    change = after.ms / before.ms - 1
    if change < 0:
        return "faster"
    return "regression" if change >= threshold else "slower"
