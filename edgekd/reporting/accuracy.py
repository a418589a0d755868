"""Where accuracy is lost and won: teacher → scratch → distilled → quantised → each backend."""

from dataclasses import dataclass

from edgekd.metrics import Scale
from edgekd.reporting.run_record import FloatGraph, Network, Quantized, RunRecord, TargetRecord
from edgekd.reporting.svg import ACCENT, INK, MUTED, PAPER, Axis, Drawing, Plot, plot, upright, width_of
from edgekd.reporting.words import change, mean, metric_name, scale_of, spread, worth

WIDE_ROW, NARROW_ROW, TOP, BOTTOM = 32.0, 52.0, 8.0, 46.0  # pixels
COLUMN = 52.0  # of a value, and of a change, at the right
Scored = Network | FloatGraph | Quantized | TargetRecord
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


def steps(run: RunRecord) -> list[Step]:
    """Every metric that the run knows, in the order in which the student meets them."""
    course: list[Step] = []
    teacher = _add(course, TEACHER, run.teacher, None)
    alone = _add(course, ALONE, run.student_scratch, teacher)
    taught = _add(course, TAUGHT, run.student, alone or teacher)
    schemes = {name: _add(course, name, entry, taught) for name, entry in run.quantized.items()}
    for name, target in run.targets.items():
        quantised = schemes.get(target.scheme or "", next(iter(schemes.values()), taught))
        measured = target.metric_source != "reference"
        _add(course, name if measured else f"{name} (not run)", target, quantised, measured)
    if not run.targets:
        _add(course, "Float graph", run.float, taught, measured=False)
    return course


def waterfall(run: RunRecord) -> Plot | None:
    """Each step's metric, with the difference from the step that it is held against."""
    course = steps(run)
    if len(course) < 2:
        return None
    words = "; ".join(f"{step.label} {worth(run, step.value)}" for step in course)
    return plot(
        lambda drawing, narrow: _paint(drawing, course, run, narrow),
        (TOP + WIDE_ROW * len(course) + BOTTOM, TOP + NARROW_ROW * len(course) + BOTTOM),
        f"Test {metric_name(run)} from teacher to each target. {words}.",
        takeaway(course, run),
    )


def takeaway(course: list[Step], run: RunRecord) -> str:
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


def _plain(run: RunRecord, difference: float) -> str:
    return change(run, difference)[1:]


def _add(
    course: list[Step], label: str, entry: Scored | None, against: Step | None, measured: bool = True
) -> Step | None:
    metric = entry.metric if entry else None
    value = mean(metric)
    if value is None:
        return None
    course.append(Step(label, value, spread(metric), against, measured))
    return course[-1]


def _paint(drawing: Drawing, course: list[Step], run: RunRecord, narrow: bool) -> None:
    """A row a step: its dot with the deviation over seeds, a bar from the step that it is held against, two columns."""
    scale, high = scale_of(run), NARROW_ROW if narrow else WIDE_ROW
    left = 10.0 if narrow else max(width_of(step.label) for step in course) + 18
    right, bottom = drawing.width - 2 * COLUMN - 14, drawing.height - BOTTOM
    axis = _axis(course, scale, left, right)
    upright(drawing, axis, axis.ticks(4 if narrow else 8), TOP, bottom)
    title = f"test {metric_name(run)}, {scale.unit}".rstrip(", ")
    drawing.text((left + right) / 2, drawing.height - 12, title, MUTED, "middle")
    rows = [TOP + high * (place + (0.68 if narrow else 0.5)) for place in range(len(course))]
    for step, y in zip(course, rows, strict=True):
        if step.against is not None:
            _paint_change(drawing, axis, step, (rows[course.index(step.against)], y), scale)
    for step, y in zip(course, rows, strict=True):
        _paint_value(drawing, axis, step, y, scale)
        if narrow:  # labels above their bars leave the width to the plot
            drawing.text(2, y - 20, step.label)
        else:
            drawing.text(left - 14, y, step.label, anchor="end")


def _axis(course: list[Step], scale: Scale, left: float, right: float) -> Axis:
    """With room around the outermost values, whole dots included."""
    ends = [scale.factor * (step.value + way * (step.spread or 0)) for step in course for way in (-1, 1)]
    low, high = min(ends), max(ends)
    air = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    return Axis(low - air, high + air, left, right)


def _paint_change(drawing: Drawing, axis: Axis, step: Step, rows: tuple[float, float], scale: Scale) -> None:
    if step.against is None:
        return
    start, colour = axis(scale.factor * step.against.value), ACCENT if scale.gain(step.change, 0) >= 0 else MUTED
    drawing.line((start, rows[0]), (start, rows[1]), colour=MUTED, width=0.9, opacity=0.6)
    drawing.bar(start, rows[1] - 5.5, axis(scale.factor * step.value) - start, 11, colour, opacity=0.5)


def _paint_value(drawing: Drawing, axis: Axis, step: Step, y: float, scale: Scale) -> None:
    x, error = axis(scale.factor * step.value), scale.factor * (step.spread or 0)
    if error:
        ends = axis(scale.factor * step.value - error), axis(scale.factor * step.value + error)
        drawing.line((ends[0], y), (ends[1], y))
        for end in ends:
            drawing.line((end, y - 4), (end, y + 4))
    drawing.marker("circle", x, y, 4.2, INK if step.measured else PAPER, INK)
    drawing.text(drawing.width - COLUMN - 10, y, scale.figures(step.value), anchor="end", bold=True)
    if step.against is not None:
        change = scale.difference(step.change).partition("\u00a0")[0]
        drawing.text(drawing.width - 4, y, change, MUTED, "end")
