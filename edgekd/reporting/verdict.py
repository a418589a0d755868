"""The answer in one glance: what was taught, what it costs, and which promises held."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean as average
from statistics import stdev
from typing import Any, Literal

from edgekd.reporting.teaching import gap
from edgekd.reporting.words import (
    NONE,
    Run,
    change,
    cost,
    count,
    latency,
    listed,
    mean,
    metric_name,
    milliseconds,
    percent,
    scale_of,
    sentence,
    size,
    three_digits,
    worth,
)

EXECUTED = ("ok", "fallback", "failed")
DELIVERED = ("ok", "fallback")  # a fallback ships another variant, because int8 broke its promise
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


def headline(run: Run, title: str) -> str:
    """One sentence with the two numbers that matter: how much smaller, how much is kept."""
    teacher, student = run.get("teacher") or {}, run.get("student") or {}
    taught, known = _final(run), mean(teacher.get("metric"))
    if not (teacher.get("parameters") and student.get("parameters") and taught and known):
        return title
    ratio = f"A student {teacher['parameters'] / student['parameters']:.1f} times smaller"
    scale = scale_of(run)
    if scale.gain(taught, known) >= 0:
        return f"{ratio} is as good as its teacher."
    if scale.better == "lower" or scale.unit != "%":
        return f"{ratio} reaches {worth(run, taught)} in {metric_name(run)}, its teacher {worth(run, known)}."
    return f"{ratio} keeps {percent(taught / known)} of its teacher’s {metric_name(run)}."


def summary(run: Run) -> str:
    """What it was taught on, in one sentence."""
    data, seeds = run.get("data") or {}, run.get("seeds") or []
    if not data:
        return ""
    classes = data.get("classes", ())
    amount = len(classes) if isinstance(classes, list | tuple) else classes
    kinds = f" in {amount} classes" if amount else ""
    told = f"Trained on {data.get('train', 0):,} samples of {data.get('name', 'data')}{kinds}"
    chance = f", {len(seeds)} seeds" if len(seeds) > 1 else ", one seed"
    return f"{told}, tested on {data.get('test', 0):,} held-out samples{chance}."


def tiles(run: Run) -> list[Tile]:
    """Accuracy, size, latency and distillation tax, as far as they are known."""
    name, target = hero(run)
    variants = target.get("variants") or {}
    int8, rest = variants.get("int8") or {}, {key: row for key, row in variants.items() if key != "int8"}
    time = latency(int8)
    found = [Tile(sentence(metric_name(run)), worth(run, _final(run)), _teacher_note(run))]
    if int8.get("bytes"):
        others = [f"{size(row['bytes'])} in {key}" for key, row in rest.items() if row.get("bytes")]
        found.append(Tile("INT8 model", size(int8["bytes"]), next(iter(others), _parameters(run))))
    if time.get("p50"):
        interval = f"{three_digits(time['low'])}–{milliseconds(time['high'])}, " if time.get("low") else ""
        found.append(Tile("Median latency", milliseconds(time["p50"]), f"{interval}on {name}"))
    if not target:
        found += _smaller(run)
    tax = (run.get("distillation") or {}).get("tax")
    if tax is not None:
        found.append(Tile("Distillation tax", cost(run, tax), f"gap recovered: {gap(run)}"))
    return [tile for tile in found if tile.value != NONE]


def _smaller(run: Run) -> list[Tile]:
    """What a student without a target has to show for itself."""
    teacher, student = run.get("teacher") or {}, run.get("student") or {}
    return [
        Tile(label, count(student[key]), f"teacher {count(teacher[key])}, {teacher[key] / student[key]:.1f} times more")
        for label, key in (("Parameters", "parameters"), ("MACs", "macs"))
        if student.get(key) and teacher.get(key)
    ]


def hero(run: Run) -> tuple[str, dict[str, Any]]:
    """The executed target on which int8 is fastest; an empty one when nothing ran."""
    ran = {name: target for name, target in (run.get("targets") or {}).items() if target.get("status") == "ok"}
    timed = {name: _int8_p50(target) for name, target in ran.items()}
    best = min((name for name in ran if timed[name]), key=lambda name: timed[name] or 0, default=next(iter(ran), ""))
    return best, ran.get(best, {})


def promises(run: Run) -> list[Promise]:
    """Parity, distillation, quantisation and speed, each held, broken, open or advice."""
    return [*_parity(run), *_distillation(run), *_export(run), *_quantization(run), *_speed(run), *_not_executed(run)]


def _parity(run: Run) -> Iterator[Promise]:
    targets = run.get("targets") or {}
    executed = [name for name, target in targets.items() if target.get("status") in EXECUTED]
    failed = [name for name in executed if targets[name]["status"] != "ok"]
    if executed and not failed:
        yield Promise("held", f"Parity: every executed target matches the reference ({listed(executed)}).")
    for name in failed:
        yield Promise("broken", f"{name} failed: {targets[name].get('reason') or 'no reason given'}.")


def _distillation(run: Run) -> Iterator[Promise]:
    alone = mean((run.get("student_scratch") or {}).get("metric"))
    taught = mean((run.get("student") or {}).get("metric"))
    if alone is None or taught is None:
        return
    told = f"Distillation against training from scratch: {change(run, taught - alone)}."
    gains = [one - other for one, other in zip(_seeds(run, "student"), _seeds(run, "student_scratch"), strict=False)]
    if len(gains) < 2:
        yield Promise("open", f"{told} One seed: chance is not ruled out.")
    elif abs(average(gains)) < _STANDARD_ERRORS * stdev(gains) / len(gains) ** 0.5:
        yield Promise("open", f"{told} Seeds differ by as much: chance is not ruled out.")
    else:
        yield Promise("held" if scale_of(run).gain(taught, alone) >= 0 else "broken", told)


def _seeds(run: Run, entry: str) -> Sequence[float]:
    """A metric's values; the same seed has the same weights and batches in both trainings."""
    metric = (run.get(entry) or {}).get("metric")
    return metric.get("seeds") or () if isinstance(metric, Mapping) else ()


def _export(run: Run) -> Iterator[Promise]:
    graph = run.get("float") or {}
    difference, value = graph.get("difference"), mean(graph.get("metric"))
    if difference is not None and not run.get("targets"):
        allowed = scale_of(run).allowance(_EXPORT_DIFFERENCE, value or 0.0)
        state: Literal["held", "broken"] = "held" if abs(difference) <= allowed else "broken"
        yield Promise(state, f"The exported graph against the network that was trained: {change(run, difference)}.")


def _quantization(run: Run) -> Iterator[Promise]:
    taught, scale = mean((run.get("student") or {}).get("metric")), scale_of(run)
    for scheme, entry in (run.get("quantized") or {}).items():
        value = mean(entry.get("metric"))
        if value is not None and taught is not None:
            limit = scale.allowance(run.get("max_drop", _MAX_DROP), taught)
            allowed = change(run, -limit if scale.better == "higher" else limit)
            yield Promise(
                "held" if scale.gain(taught, value) <= limit else "broken",
                f"Quantising to {scheme}: {change(run, value - taught)} ({allowed} allowed){_kept(entry)}.",
            )


def _kept(entry: Run) -> str:
    """The layers that stay in float for it."""
    return f", {listed(entry['kept'])} in float" if entry.get("kept") else ""


def _speed(run: Run) -> Iterator[Promise]:
    targets = run.get("targets") or {}
    faster = [name for name, target in targets.items() if target.get("int8_pays") is True]
    slower = {name: target.get("advice") for name, target in targets.items() if target.get("int8_pays") is False}
    if faster:
        yield Promise("held", f"INT8 pays on {listed(faster)}.")
    for name, advice in slower.items():
        yield Promise("advice", f"{name}: {advice or 'int8 does not pay here'}.")


def _not_executed(run: Run) -> Iterator[Promise]:
    idle = {name: t for name, t in (run.get("targets") or {}).items() if t.get("status") not in EXECUTED}
    unproven = [name for name, target in idle.items() if target.get("device")]
    for name in unproven:
        yield Promise("open", f"{name} is not proven: {idle[name].get('reason') or 'no reason given'}.")
    if others := [name for name in idle if name not in unproven]:
        yield Promise("open", f"Not executed, for the recipe names no device: {listed(others)}.")
    emulated = [name for name, target in (run.get("targets") or {}).items() if _emulated(target)]
    if emulated:
        yield Promise("open", f"Executed on an emulated device: {listed(emulated)}. No latency is claimed there.")


def _emulated(target: Run) -> bool:
    rows = (target.get("variants") or {}).values()
    return any(row.get("latency_ms") and not latency(row) for row in rows)


def _final(run: Run) -> float | None:
    _, target = hero(run)
    quantized = [mean(entry.get("metric")) for entry in (run.get("quantized") or {}).values()]
    known = (mean(target.get("metric")), *quantized, mean((run.get("student") or {}).get("metric")))
    return next((value for value in known if value is not None), None)


def _teacher_note(run: Run) -> str:
    teacher = mean((run.get("teacher") or {}).get("metric"))
    return "" if teacher is None else f"teacher {worth(run, teacher)}"


def _parameters(run: Run) -> str:
    parameters = (run.get("student") or {}).get("parameters")
    return f"{count(parameters)} parameters" if parameters else ""


def _int8_p50(target: Run) -> float | None:
    return latency((target.get("variants") or {}).get("int8") or {}).get("p50")
