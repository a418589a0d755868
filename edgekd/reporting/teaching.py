"""What was taught, by what, and what it bought: the same rows and facts for the page and for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pydantic import JsonValue

from edgekd.metrics import Scale
from edgekd.reporting.run_record import Distillation, Network, Quantized, RunRecord
from edgekd.reporting.words import (
    NONE,
    change,
    cost,
    listed,
    mean,
    metric_name,
    percent,
    scale_of,
    spoken_metric,
    spread,
    worth,
)

PERCENTAGE = Scale("share")


@dataclass(frozen=True)
class Fact:
    """One thing that a run found of its distillation."""

    label: str
    value: str
    note: str = ""


class Scored(NamedTuple):
    """A metric, and its deviation over seeds; None where that is not known."""

    value: float | None
    std: float | None


@dataclass(frozen=True)
class ModelRow:
    """A network: its metric, its size against the teacher's, and the task's other metrics by name."""

    name: str
    metric: float | None
    std: float | None
    parameters: int | None = None
    macs: int | None = None
    parameters_ratio: float | None = None
    macs_ratio: float | None = None
    others: Mapping[str, Scored] = field(default_factory=dict)


def models(run: RunRecord) -> list[ModelRow]:
    """One row per model: metric, parameters, multiply-accumulates, each model's against the teacher's, and the
    task's other metrics; deviations are over seeds.
    """
    entries: dict[str, Network | Quantized | None] = {
        "teacher": run.teacher, "scratch student": run.student_scratch, "distilled student": run.student,
        **run.quantized,
    }  # fmt: skip
    others = [scale.name for scale in run.other_scales]
    return [_model(name, entry, run.teacher, _others(run, name, others)) for name, entry in entries.items() if entry]


def known_scales(run: RunRecord, rows: Sequence[ModelRow]) -> list[Scale]:
    """Those of the task's other metrics that some model has."""
    return [scale for scale in run.other_scales if any(row.others[scale.name].value is not None for row in rows)]


def facts(run: RunRecord) -> list[Fact]:
    """What is doubtful, tax, gap recovered, agreement, what taught and with which weights, and the exported graph."""
    return [*_doubtful(run), *_bought(run), *_taught(run), *_exported(run)]


def doubt_of_teacher(scale: Scale, value: float, level: float) -> str:
    """Why a teacher may have nothing to teach; `level` is what chance gets."""
    found = f"the teacher's {spoken_metric(scale.name)}, {scale.text(value)}"
    told = f"{found}, may be chance, which gets {scale.text(level)}"
    order = ", or with classes in another order (edgekd.map_classes)" if scale.unit == "%" else ""
    return f"{told}: was it trained with other preprocessing{order}?".replace("\u00a0", " ")


def gap(run: RunRecord) -> str:
    """Gap recovered, or why it is not known."""
    found = run.distillation or Distillation()
    if found.gap_recovered is None:
        return f"not known ({found.reason or 'no reason given'})"
    return percent(found.gap_recovered, 0)


def deviation(std: float | None, scale: Scale = PERCENTAGE, digits: int = 1) -> str:
    """0.0012 → ± 0.1, of a percentage; nothing for a single seed."""
    return "" if std is None else f" ± {scale.figures(std, digits)}"


def other_metric(row: ModelRow, scale: Scale) -> str:
    """One of a model's other metrics, with its deviation."""
    value, std = row.others[scale.name]
    return NONE if value is None else scale.text(value) + deviation(std, scale)


_ROLES = {"teacher": "teacher", "scratch student": "scratch", "distilled student": "student"}  # in a record


def _others(run: RunRecord, name: str, others: list[str]) -> dict[str, Scored]:
    found = run.distillation.others if run.distillation else {}
    scores = {other: found.get(other, {}).get(_ROLES.get(name, "")) for other in others}
    return {other: Scored(mean(metric), spread(metric)) for other, metric in scores.items()}


def _model(name: str, entry: Network | Quantized, teacher: Network | None, others: Mapping[str, Scored]) -> ModelRow:
    metric = ModelRow(name, mean(entry.metric), spread(entry.metric), others=others)
    if isinstance(entry, Quantized):
        return metric
    row = replace(metric, parameters=entry.parameters, macs=entry.macs)
    if teacher is None or entry is teacher:
        return row
    return replace(
        row,
        parameters_ratio=_ratio(teacher.parameters, entry.parameters),
        macs_ratio=_ratio(teacher.macs, entry.macs),
    )


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _doubtful(run: RunRecord) -> list[Fact]:
    """A teacher that may know nothing, a student larger than its teacher, teaching that cost points."""
    told, scale = [], scale_of(run)
    if run.teacher and run.teacher.may_be_chance and run.teacher.chance is not None:
        known = run.teacher.metric.mean
        told.append(Fact("Doubtful", worth(run, known), doubt_of_teacher(scale, known, run.teacher.chance)))
    ratio = _ratio(run.student.parameters, run.teacher.parameters) if run.student and run.teacher else None
    if ratio is not None and ratio > 1:
        told.append(Fact("Doubtful", f"{ratio:.1f} ×", "the student is larger than its teacher"))
    taught, alone = run.student, run.student_scratch
    lost = cost(run, scale.gain(alone.metric.mean, taught.metric.mean)) if taught and alone else NONE
    if lost[0] not in (NONE, "−", "±"):  # more than its last digit
        words = "distillation cost points" if scale.unit == "%" else "distillation made it worse"
        told.append(Fact("Doubtful", lost, f"{words}: the student is better from scratch"))
    return told


def _bought(run: RunRecord) -> list[Fact]:
    found, scale = run.distillation or Distillation(), scale_of(run)
    told = []
    if found.tax is not None:
        tax = _with(cost(run, found.tax), found.tax_std, scale)
        told.append(Fact("Distillation tax", tax, "teacher minus student"))
        value = _with(gap(run), found.gap_recovered_std, digits=0)
        told.append(Fact("Gap recovered", value, "of the gap between training from scratch and the teacher"))
    if found.agreement is not None:
        answers = "of test answers are the teacher’s"
        note = (
            answers if metric_name(run) == "accuracy" else f"the student’s {metric_name(run)} by the teacher’s answers"
        )
        told.append(Fact("Agreement", _with(worth(run, found.agreement), found.agreement_std, scale), note))
    return told


def taught_by(run: RunRecord) -> str:
    """The methods and their weights."""
    found = run.distillation or Distillation()
    methods = [_method(entry) for entry in found.methods]
    labels = found.document().get("cross_entropy")
    return listed([*methods, f"cross-entropy × {_value(labels)}"] if labels else methods)


def _taught(run: RunRecord) -> list[Fact]:
    methods = taught_by(run)
    told = [Fact("Methods", methods, "each with its weight in the loss")] if methods else []
    teachers = [f"{teacher.name} ({worth(run, teacher.metric.mean)})" for teacher in run.teachers]
    return told + ([Fact("Teachers", listed(teachers), "the first is the one compared with")] if teachers else [])


def _exported(run: RunRecord) -> list[Fact]:
    if run.float is None:
        return []
    note = f"{change(run, run.float.difference)} against the network that was trained"
    return [Fact("Float ONNX, in the reference", worth(run, run.float.metric.mean), note)]


def _method(entry: Mapping[str, JsonValue]) -> str:
    rest = {
        key: value for key, value in entry.items() if key not in ("method", "weight") and value not in (None, False)
    }
    inside = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in rest.items())
    return f"{entry.get('method')} × {_value(entry.get('weight'))}" + (f" ({inside})" if inside else "")


def _value(value: JsonValue) -> str:
    """A number, a weight that moves, or layers, in few letters."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, dict) and "start" in value and "end" in value:
        return f"{_value(value['start'])} → {_value(value['end'])}"
    if isinstance(value, dict):
        return ", ".join(f"{ours} → {_value(theirs)}" for ours, theirs in value.items())
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return NONE if value is None else str(value)


def _with(text: str, std: float | None, scale: Scale = PERCENTAGE, digits: int = 1) -> str:
    """`1.9 points` → `1.9 ± 0.2 points`."""
    number, space, unit = text.partition("\u00a0")
    return text if std is None or not space else f"{number}{deviation(std, scale, digits)}{space}{unit}"
