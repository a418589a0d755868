"""The answer in one glance: what was taught, what it costs, and which promises held."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean as average
from statistics import stdev
from typing import Literal

from edgekd.reporting.run_record import Quantized, RunRecord, TargetRecord
from edgekd.reporting.teaching import gap
from edgekd.reporting.words import (
    NONE,
    change,
    cost,
    count,
    interval,
    latency,
    listed,
    mean,
    metric_name,
    milliseconds,
    percent,
    scale_of,
    sentence,
    size,
    worth,
)

EXECUTED = ("ok", "fallback", "failed")
SHIPPED = ("ok", "fallback")  # a fallback ships another variant, because int8 broke its promise
_EXPORT_DIFFERENCE = 0.001  # what float arithmetic in another order may cost
_STANDARD_ERRORS = 2.0  # of the seeds' paired differences; a smaller gain is not claimed
_MAX_DROP = 0.005  # what quantising may cost where the run does not say


@dataclass(frozen=True)
class Tile:
    """One large number with its context."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Promise:
    """Something a run claims; `open` when nothing could tell. `advice` is no promise, so it breaks none."""

    state: Literal["held", "broken", "open", "advice"]
    text: str


def headline(run: RunRecord, title: str) -> str:
    """One sentence with the two numbers that matter: how much smaller, how much is kept."""
    teacher, student, taught = run.teacher, run.student, _final(run)
    if not (teacher and student and teacher.parameters and student.parameters and taught and teacher.metric.mean):
        return title
    ratio = f"A student {teacher.parameters / student.parameters:.1f} times smaller"
    scale, known = scale_of(run), teacher.metric.mean
    if scale.gain(taught, known) >= 0:
        return f"{ratio} is as good as its teacher."
    if scale.better == "lower" or scale.unit != "%":
        return f"{ratio} reaches {worth(run, taught)} in {metric_name(run)}, its teacher {worth(run, known)}."
    return f"{ratio} keeps {percent(taught / known)} of its teacher’s {metric_name(run)}."


def summary(run: RunRecord) -> str:
    """What it was taught on, in one sentence."""
    data = run.data
    if data is None:
        return ""
    kinds = f" in {data.classes} classes" if data.classes else ""
    told = f"Trained on {data.train:,} samples of {data.name}{kinds}"
    chance = f", {len(run.seeds)} seeds" if len(run.seeds) > 1 else ", one seed"
    return f"{told}, tested on {data.test:,} held-out samples{chance}."


def tiles(run: RunRecord) -> list[Tile]:
    """Accuracy, size, latency and distillation tax, as far as they are known."""
    name, target = hero(run)
    variants = target.variants if target else {}
    int8, rest = variants.get("int8"), {key: row for key, row in variants.items() if key != "int8"}
    found = [Tile(sentence(metric_name(run)), worth(run, _final(run)), _teacher_note(run))]
    if int8 and int8.bytes:
        others = [f"{size(row.bytes)} in {key}" for key, row in rest.items() if row.bytes]
        found.append(Tile("INT8 model", size(int8.bytes), next(iter(others), _parameters(run))))
    if time := latency(int8):
        spread = interval(time.low, time.high, time.replicates)
        found.append(Tile("Median latency", milliseconds(time.p50), f"{spread}, on {name}"))
    if target is None:
        found += _smaller(run)
    if run.distillation and run.distillation.tax is not None:
        found.append(Tile("Distillation tax", cost(run, run.distillation.tax), f"gap recovered: {gap(run)}"))
    return [tile for tile in found if tile.value != NONE]


def _smaller(run: RunRecord) -> list[Tile]:
    """What a student without a target has to show for itself."""
    if run.teacher is None or run.student is None:
        return []
    sizes = {
        "Parameters": (run.student.parameters, run.teacher.parameters),
        "MACs": (run.student.macs, run.teacher.macs),
    }
    return [
        Tile(label, count(ours), f"teacher {count(theirs)}, {theirs / ours:.1f} times more")
        for label, (ours, theirs) in sizes.items()
        if ours and theirs
    ]


def hero(run: RunRecord) -> tuple[str, TargetRecord | None]:
    """The executed target on which int8 is fastest; None when nothing ran."""
    ran = {name: target for name, target in run.targets.items() if target.status == "ok"}
    timed = {name: time.p50 for name, target in ran.items() if (time := latency(target.variants.get("int8")))}
    best = min(timed, key=lambda name: timed[name], default=next(iter(ran), ""))
    return best, ran.get(best)


def promises(run: RunRecord) -> list[Promise]:
    """Parity, distillation, quantisation and speed, each held, broken, open or advice."""
    return [*_parity(run), *_distillation(run), *_export(run), *_quantization(run), *_speed(run), *_not_executed(run)]


def _parity(run: RunRecord) -> Iterator[Promise]:
    executed = {name: target for name, target in run.targets.items() if target.status in EXECUTED}
    failed = {name: target for name, target in executed.items() if target.status != "ok"}
    if executed and not failed:
        yield Promise("held", f"Parity: every executed target matches the reference ({listed([*executed])}).")
    for name, target in failed.items():
        yield Promise("broken", f"{name} failed: {target.reason or 'no reason given'}.")


def _distillation(run: RunRecord) -> Iterator[Promise]:
    if run.student_scratch is None or run.student is None:
        return
    alone, taught = run.student_scratch.metric, run.student.metric
    told = f"Distillation against training from scratch: {change(run, taught.mean - alone.mean)}."
    # the same seed has the same weights and batches in both trainings
    gains = [one - other for one, other in zip(taught.seeds, alone.seeds, strict=False)]
    if len(gains) < 2:
        yield Promise("open", f"{told} One seed: chance is not ruled out.")
    elif abs(average(gains)) < _STANDARD_ERRORS * stdev(gains) / len(gains) ** 0.5:
        yield Promise("open", f"{told} Seeds differ by as much: chance is not ruled out.")
    else:
        yield Promise("held" if scale_of(run).gain(taught.mean, alone.mean) >= 0 else "broken", told)


def _export(run: RunRecord) -> Iterator[Promise]:
    graph = run.float
    if graph and not run.targets:
        allowed = scale_of(run).allowance(_EXPORT_DIFFERENCE, graph.metric.mean)
        told = f"The exported graph against the network that was trained: {change(run, graph.difference)}."
        yield Promise("held" if abs(graph.difference) <= allowed else "broken", told)


def _quantization(run: RunRecord) -> Iterator[Promise]:
    if run.student is None:
        return
    taught, scale = run.student.metric.mean, scale_of(run)
    limit = scale.allowance(_MAX_DROP if run.max_drop is None else run.max_drop, taught)
    allowed = change(run, -limit if scale.better == "higher" else limit)
    for scheme, entry in run.quantized.items():
        value = entry.metric.mean
        yield Promise(
            "held" if scale.gain(taught, value) <= limit else "broken",
            f"Quantising to {scheme}: {change(run, value - taught)} ({allowed} allowed){_kept(entry)}.",
        )


def _kept(entry: Quantized) -> str:
    """The layers that stay in float for it."""
    return f", {listed(entry.kept)} in float" if entry.kept else ""


def _speed(run: RunRecord) -> Iterator[Promise]:
    faster = [name for name, target in run.targets.items() if target.int8_pays is True]
    slower = {name: target.advice for name, target in run.targets.items() if target.int8_pays is False}
    if faster:
        yield Promise("held", f"INT8 pays on {listed(faster)}.")
    for name, advice in slower.items():
        yield Promise("advice", f"{name}: {advice or 'int8 does not pay here'}.")


def _not_executed(run: RunRecord) -> Iterator[Promise]:
    idle = {name: target for name, target in run.targets.items() if target.status not in EXECUTED}
    for name, target in idle.items():
        if target.device:
            yield Promise("open", f"{name} is not proven: {target.reason or 'no reason given'}.")
    if others := [name for name, target in idle.items() if not target.device]:
        yield Promise("open", f"Not executed, for the recipe names no device: {listed(others)}.")
    emulated = [name for name, target in run.targets.items() if _emulated(target)]
    if emulated:
        yield Promise("open", f"Executed on an emulated device: {listed(emulated)}. No latency is claimed there.")


def _emulated(target: TargetRecord) -> bool:
    return any(row.latency_ms and not row.latency_ms.counts for row in target.variants.values())


def _final(run: RunRecord) -> float | None:
    _, target = hero(run)
    known = (target, *run.quantized.values(), run.student)
    return next((value for entry in known if entry and (value := mean(entry.metric)) is not None), None)


def _teacher_note(run: RunRecord) -> str:
    return f"teacher {worth(run, run.teacher.metric.mean)}" if run.teacher else ""


def _parameters(run: RunRecord) -> str:
    return f"{count(run.student.parameters)} parameters" if run.student and run.student.parameters else ""
