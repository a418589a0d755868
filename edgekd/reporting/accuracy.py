"""Where accuracy is lost and won: teacher → scratch → distilled → quantised → each backend."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgekd.metrics import Scale
from edgekd.reporting.svg import ACCENT, INK, MUTED, PAPER, Plot, bare, plot
from edgekd.reporting.words import Run, change, mean, metric_name, scale_of, spread, worth

TEACHER, ALONE, TAUGHT = "Teacher", "Scratch student", "Distilled student"


@dataclass(frozen=True)
class Step:
    """One metric on the course; `against` is the step that it is held against."""

    label: str
    value: float
    spread: float | None = None
    against: "Step | None" = None
    measured: bool = True

    @property
    def change(self) -> float:
        """Difference from `against`."""
        return 0.0 if self.against is None else self.value - self.against.value


def steps(run: Run) -> list[Step]:
    """Every metric that the run knows, in the order in which the student meets them."""
    course: list[Step] = []
    teacher = _add(course, TEACHER, (run.get("teacher") or {}).get("metric"), None)
    alone = _add(course, ALONE, (run.get("student_scratch") or {}).get("metric"), teacher)
    taught = _add(course, TAUGHT, (run.get("student") or {}).get("metric"), alone or teacher)
    schemes = {
        name: _add(course, name, entry.get("metric"), taught) for name, entry in (run.get("quantized") or {}).items()
    }
    for name, target in (run.get("targets") or {}).items():
        quantised = schemes.get(target.get("scheme"), next(iter(schemes.values()), taught))
        measured = target.get("metric_source") != "reference"
        _add(course, name if measured else f"{name} (not run)", target.get("metric"), quantised, measured)
    if not run.get("targets"):
        _add(course, "Float graph", (run.get("float") or {}).get("metric"), taught, measured=False)
    return course


def waterfall(run: Run) -> Plot | None:
    """Each step's metric, with the difference from the step that it is held against."""
    course = steps(run)
    if len(course) < 2:
        return None
    words = "; ".join(f"{step.label} {worth(run, step.value)}" for step in course)
    return plot(
        "waterfall",
        lambda figure, narrow: _paint(figure, course, run, narrow),
        (0.55 + 0.34 * len(course), 0.55 + 0.6 * len(course)),
        f"Test {metric_name(run)} from teacher to each target. {words}.",
        takeaway(course, run),
    )


def takeaway(course: list[Step], run: Run) -> str:
    """What teaching won back, and what the way to the chip took."""
    found = {step.label: step for step in course}
    late = [step for step in course if step.label not in (TEACHER, ALONE, TAUGHT) and step.measured]
    told, scale = [], scale_of(run)
    if TEACHER in found and ALONE in found and TAUGHT in found:
        alone, taught = found[ALONE].change, found[TAUGHT].change
        verb = "recovers" if scale.gain(taught, 0) >= 0 else "costs another"
        apart = f"{_plain(run, alone)} {'below' if alone < 0 else 'above'}"
        told.append(
            f"Trained from scratch, the student is {apart} its teacher; distillation {verb} {_plain(run, taught)}."
        )
    if TAUGHT in found and late:
        worst = min(scale.gain(step.value, found[TAUGHT].value) for step in late)
        lost = f"at most {_plain(run, worst)} are lost" if worst < 0 else "nothing is lost"
        told.append(f"From distilled to the chip {lost}.")
    return " ".join(told) or f"The last step reaches {worth(run, course[-1].value)}."


def _plain(run: Run, difference: float) -> str:
    return change(run, difference)[1:]


def _add(course: list[Step], label: str, metric: object, against: Step | None, measured: bool = True) -> Step | None:
    value = mean(metric)
    if value is None:
        return None
    course.append(Step(label, value, spread(metric), against, measured))
    return course[-1]


def _paint(figure: Figure, course: list[Step], run: Run, narrow: bool) -> None:
    axes, scale = figure.subplots(), scale_of(run)
    axes.set_ylim(len(course) - 0.4, -0.8 if narrow else -0.6)
    axes.set_yticks(range(len(course)), [""] * len(course) if narrow else [step.label for step in course], color=INK)
    axes.set_xlabel(f"test {metric_name(run)}, {scale.unit}".rstrip(", "))
    axes.margins(x=0.04)
    axes.use_sticky_edges = False  # a bar that ends at the teacher would cut its dot in half
    bare(axes, "x")
    for row, step in enumerate(course):
        if step.against is not None:
            _paint_change(axes, row, step, course.index(step.against), scale)
        value, error = scale.factor * step.value, scale.factor * (step.spread or 0)
        axes.errorbar(value, row, xerr=error, color=INK, linewidth=1.2, capsize=2.5)
        axes.plot(value, row, "o", markersize=6.5, color=INK, markerfacecolor=INK if step.measured else PAPER)
        _write(axes, row, step, scale)
        if narrow:  # labels above their bars leave the width to the plot
            place = axes.get_yaxis_transform()
            axes.annotate(step.label, (0, row), (0, 10), xycoords=place, textcoords="offset points")


def _paint_change(axes: Axes, row: int, step: Step, reference: int, scale: Scale) -> None:
    if step.against is None:
        return
    start, colour = scale.factor * step.against.value, ACCENT if scale.gain(step.change, 0) >= 0 else MUTED
    axes.plot([start, start], [reference, row], color=MUTED, linewidth=0.8, alpha=0.6, zorder=0.5)
    axes.barh(row, scale.factor * step.change, left=start, height=0.34, color=colour, alpha=0.5)


def _write(axes: Axes, row: int, step: Step, scale: Scale) -> None:
    """The value and its change as two columns at the right."""
    change = "" if step.against is None else scale.difference(step.change).partition("\u00a0")[0]
    columns: list[tuple[str, int, dict[str, Any]]] = [
        (scale.figures(step.value), 34, {"weight": "bold"}),
        (change, 66, {"color": MUTED}),
    ]
    for text, offset, style in columns:
        axes.annotate(
            text,
            xy=(1, row),
            xycoords=axes.get_yaxis_transform(),
            xytext=(offset, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            annotation_clip=False,
            **style,
        )
