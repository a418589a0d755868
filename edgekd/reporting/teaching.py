"""What was taught, by what, and what it bought: the same rows and facts for the page and for the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.metrics import Scale
from edgekd.reporting.words import (
    NONE,
    Run,
    change,
    cost,
    listed,
    mean,
    metric_name,
    other_scales,
    percent,
    scale_of,
    spoken_metric,
    spread,
    worth,
)

PERCENTAGE = Scale("share")


@dataclass(frozen=True)
class Fact:
    """One thing that a run found out about its teaching."""

    label: str
    value: str
    note: str = ""


def models(run: Run) -> list[dict[str, Any]]:
    """One row per model: metric, parameters, multiply-accumulates, each model's against the teacher's, and the
    task's other metrics; deviations are over seeds.
    """
    entries = {
        "teacher": run.get("teacher"),
        "scratch student": run.get("student_scratch"),
        "distilled student": run.get("student"),
        **(run.get("quantized") or {}),
    }
    bought, others = run.get("distillation") or {}, [scale.name for scale in other_scales(run)]
    spoken = {"teacher": "teacher", "scratch student": "scratch", "distilled student": "student"}
    teacher = run.get("teacher") or {}
    return [
        _model(name, entry, teacher if entry is not teacher else {})
        | _others({other: (bought.get(other) or {}).get(spoken.get(name)) for other in others})
        for name, entry in entries.items()
        if entry
    ]


def facts(run: Run) -> list[Fact]:
    """What is doubtful, tax, gap recovered, agreement, what taught and with which weights, and the exported graph."""
    return [*_doubtful(run), *_bought(run), *_taught(run), *_exported(run)]


def doubt_of_teacher(scale: Scale, value: float, level: float) -> str:
    """Why a teacher may have nothing to teach; `level` is what chance gets."""
    found = f"the teacher's {spoken_metric(scale.name)}, {scale.text(value)}"
    told = f"{found}, may be chance, which gets {scale.text(level)}"
    order = ", or with classes in another order (edgekd.map_classes)" if scale.unit == "%" else ""
    return f"{told}: was it trained with other preprocessing{order}?".replace("\u00a0", " ")


def gap(run: Run) -> str:
    """Gap recovered, or why it is not known."""
    distillation = run.get("distillation") or {}
    if distillation.get("gap_recovered") is None:
        return f"not known ({distillation.get('reason') or 'no reason given'})"
    return percent(distillation["gap_recovered"], 0)


def deviation(std: float | None, scale: Scale = PERCENTAGE, digits: int = 1) -> str:
    """0.0012 → ± 0.1, of a percentage; nothing for a single seed."""
    return "" if std is None else f" ± {scale.figures(std, digits)}"


def other_metric(row: Mapping[str, Any], scale: Scale) -> str:
    """One of a model's other metrics, with its deviation."""
    value = row.get(scale.name)
    return NONE if value is None else scale.text(value) + deviation(row[f"{scale.name}_std"], scale)


def _others(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    values = {name: mean(metric) for name, metric in metrics.items()}
    return values | {f"{name}_std": spread(metric) for name, metric in metrics.items()}


def _model(name: str, entry: Run, teacher: Run) -> dict[str, Any]:
    return {
        "name": name,
        "metric": mean(entry.get("metric")),
        "std": spread(entry.get("metric")),
        **{key: entry.get(key) for key in ("parameters", "macs")},
        **{f"{key}_ratio": _ratio(teacher.get(key), entry.get(key)) for key in ("parameters", "macs")},
    }


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _doubtful(run: Run) -> list[Fact]:
    """A teacher that may know nothing, a student larger than its teacher, teaching that cost points."""
    teacher, student = run.get("teacher") or {}, run.get("student") or {}
    known, taught, alone = (
        mean((run.get(key) or {}).get("metric")) for key in ("teacher", "student", "student_scratch")
    )
    told = []
    if teacher.get("may_be_chance") and known is not None:
        told.append(Fact("Doubtful", worth(run, known), doubt_of_teacher(scale_of(run), known, teacher["chance"])))
    ratio = _ratio(student.get("parameters"), teacher.get("parameters"))
    if ratio is not None and ratio > 1:
        told.append(Fact("Doubtful", f"{ratio:.1f} ×", "the student is larger than its teacher"))
    lost = NONE if taught is None or alone is None else cost(run, scale_of(run).gain(alone, taught))
    if lost[0] not in (NONE, "−", "±"):  # more than its last digit
        words = "distillation cost points" if scale_of(run).unit == "%" else "distillation made it worse"
        told.append(Fact("Doubtful", lost, f"{words}: the student is better from scratch"))
    return told


def _bought(run: Run) -> list[Fact]:
    found = run.get("distillation") or {}
    told = []
    if found.get("tax") is not None:
        told.append(
            Fact(
                "Distillation tax",
                _with(cost(run, found["tax"]), found.get("tax_std"), scale_of(run)),
                "teacher minus student",
            )
        )
        value = _with(gap(run), found.get("gap_recovered_std"), digits=0)
        told.append(Fact("Gap recovered", value, "of the gap between training from scratch and the teacher"))
    if found.get("agreement") is not None:
        answers = "of test answers are the teacher’s"
        note = (
            answers if metric_name(run) == "accuracy" else f"the student’s {metric_name(run)} by the teacher’s answers"
        )
        value = _with(worth(run, found["agreement"]), found.get("agreement_std"), scale_of(run))
        told.append(Fact("Agreement", value, note))
    return told


def taught_by(run: Run) -> str:
    """The methods and their weights."""
    found = run.get("distillation") or {}
    methods, labels = [_method(entry) for entry in found.get("methods") or ()], found.get("cross_entropy")
    return listed([*methods, f"cross-entropy × {_value(labels)}"] if labels else methods)


def _taught(run: Run) -> list[Fact]:
    methods = taught_by(run)
    told = [Fact("Methods", methods, "each with its weight in the loss")] if methods else []
    teachers = [
        f"{teacher.get('name')} ({worth(run, mean(teacher.get('metric')))})" for teacher in run.get("teachers") or ()
    ]
    return told + ([Fact("Teachers", listed(teachers), "the first is the one compared with")] if teachers else [])


def _exported(run: Run) -> list[Fact]:
    graph = run.get("float") or {}
    value = mean(graph.get("metric"))
    if value is None:
        return []
    note = f"{change(run, graph.get('difference'))} against the network that was trained"
    return [Fact("Float ONNX, in the reference", worth(run, value), note)]


def _method(entry: Run) -> str:
    rest = {
        key: value for key, value in entry.items() if key not in ("method", "weight") and value not in (None, False)
    }
    inside = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in rest.items())
    return f"{entry.get('method')} × {_value(entry.get('weight'))}" + (f" ({inside})" if inside else "")


def _value(value: Any) -> str:
    """A number, a weight that moves, or layers, in few letters."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, Mapping) and "start" in value and "end" in value:
        return f"{value['start']:g} → {value['end']:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{ours} → {_value(theirs)}" for ours, theirs in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return NONE if value is None else str(value)


def _with(text: str, std: float | None, scale: Scale = PERCENTAGE, digits: int = 1) -> str:
    """`1.9 points` → `1.9 ± 0.2 points`."""
    number, space, unit = text.partition("\u00a0")
    return text if std is None or not space else f"{number}{deviation(std, scale, digits)}{space}{unit}"
