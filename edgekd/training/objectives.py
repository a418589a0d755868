"""What training minimises."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.distillation import (
    Builds,
    Context,
    Deploys,
    Example,
    Generational,
    Method,
    Output,
    ReadsOutput,
    Weight,
    weight_at,
)
from edgekd.errors import BadInputError, EdgekdError
from edgekd.networks import call, evaluating, named_outputs
from edgekd.outputs import chosen, each, first, one
from edgekd.plugins import told
from edgekd.tasks import Task
from edgekd.training.batches import Batch, Batches
from edgekd.training.precision import Run
from edgekd.training.seeding import derive
from edgekd.training.taps import Taps
from edgekd.training.teacher import TeacherSource, output_of

Terms = dict[str, Tensor]


class Objective(Protocol):
    """A loss with, in `modules`, the parts of it that are trained along with the model."""

    modules: nn.ModuleDict

    def build(self, batches: Batches) -> None:
        """Make `modules`."""

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get ready, after `build` and before the first step, for the samples and views that training will show."""

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss and its unweighted terms; `run` gives the model's float32 outputs by name."""

    def deploy(self, model: nn.Module) -> nn.Module:
        """What is evaluated and exported: the model, with the built parts that stay in it."""


class LabelLoss:
    """The labels' own loss, as the batch's task has it."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing
        self.modules = nn.ModuleDict()

    def build(self, batches: Batches) -> None:
        """Nothing to make."""

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Nothing to do."""

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss."""
        terms = label_terms(run(batch.inputs), batch, self._label_smoothing)
        return total(terms), terms

    def deploy(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model


class Distill:
    """Weighted sum of the labels' loss and distillation losses, read from the student by taps."""

    def __init__(
        self,
        student: nn.Module,
        teacher: TeacherSource,
        methods: Sequence[Method],
        *,
        cross_entropy: Weight = 0.1,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._student, self._teacher, self._seed = student, teacher, seed
        self._methods = named(methods)
        self._cross_entropy, self._label_smoothing = cross_entropy, label_smoothing
        self._taps = tuple(dict.fromkeys(tap for method in methods for tap in method.student_taps))
        self.modules = nn.ModuleDict()

    def build(self, batches: Batches) -> None:
        """Make the methods' parts, which `seed` alone initialises, from one look at two samples."""
        for name, method in self._methods.items():
            _require_output(name, method, batches.data.task)
        if not any(isinstance(method, Builds) for method in self._methods.values()):
            return
        batch = batches.at(np.arange(min(2 * batches.data.group_size, len(batches.data.train))), 0)
        teacher, labels = self._teacher.ask(batch), torch.from_numpy(batches.data.train.labels)
        example = Example(self._student, self._teacher.model, self._look(batch), teacher, labels)
        self.modules.update(dict(build_modules(self._methods, example, self._seed).items()))

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get the teacher's answers."""
        self._teacher.prepare(batches, views)

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss."""
        with Taps(self._student, self._taps) as taps:
            outputs = run(batch.inputs)
        student = _output(outputs, batch, {name: feature.float() for name, feature in taps.features.items()})
        teacher, progress = self._teacher.outputs(batch), step / total_steps
        terms = label_terms(outputs, batch, self._label_smoothing)
        loss = weight_at(self._cross_entropy, progress) * total(terms)
        known = batch.task.known(batch.labels)
        context = Context(step, total_steps, batch.indices, batch.labels, batch.inputs, batch.mask, known=known)
        loss, taught = add_losses(loss, self._methods, self.modules, student, teacher, context, progress)
        return loss, terms | taught

    def deploy(self, model: nn.Module) -> nn.Module:
        """The model with the parts that its methods keep at deployment."""
        return deployed(model, self._methods, self.modules)

    @torch.no_grad()
    def _look(self, batch: Batch) -> Output:
        with evaluating(self._student), Taps(self._student, self._taps) as taps:
            outputs = named_outputs(call(self._student, batch.inputs))
        return _output(outputs, batch, taps.features)


def label_terms(outputs: Mapping[str, Tensor], batch: Batch, label_smoothing: float = 0.0) -> Terms:
    """The terms of the labels' own loss, of float32 outputs (N, …) by name; BadInputError where the task's fails."""
    task, name = smoothed(batch.task, label_smoothing), type(batch.task).__name__
    read = chosen(outputs, task.reads, name)
    try:
        terms = task.loss(read, batch.labels)
    except (EdgekdError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the user's own code: anything may come out of it
        shapes = f"outputs {each(read, lambda value: tuple(value.shape))}, labels {tuple(batch.labels.shape)}"
        raise BadInputError(f"{name}.loss fails on {shapes}: {told(error)}") from error
    if not isinstance(terms, Mapping):
        kind = type(terms).__name__
        raise BadInputError(f"{name}.loss returns a {kind}, not its terms by name, such as {{'own': loss}}")
    return dict(terms)


def smoothed(task: Task, amount: float) -> Task:
    """The task with labels smoothed by `amount`; BadInputError where it knows of no such thing."""
    if not amount:
        return task
    if not hasattr(task, "label_smoothing"):
        raise BadInputError(f"label_smoothing: {type(task).__name__} has no classes to smooth")
    return replace(task, **{"label_smoothing": amount})


def total(terms: Terms) -> Tensor:
    """The sum of a loss's terms."""
    first, *rest = terms.values()
    return sum(rest, start=first)


def add_losses(
    loss: Tensor,
    methods: Mapping[str, Method],
    modules: nn.ModuleDict,
    student: Output,
    teacher: Output,
    context: Context,
    progress: float,
) -> tuple[Tensor, Terms]:
    """Return `loss` with every method's, weighted, and those by name, not weighted; raise BadInputError in one line."""
    built, terms = dict(modules.items()), Terms()
    for name, method in methods.items():
        asked = output_of(method)
        ours, theirs = student.of(asked, "the student"), teacher.of(asked, "the teacher")
        if not method.student_taps:
            _check_classes(ours.logits, theirs.logits)
        terms[name] = _term(name, method, ours, theirs, replace(context, module=built.get(name)))
        loss = loss + weight_at(method.weight, progress) * terms[name]
    return loss, terms


def build_modules(methods: Mapping[str, Method], example: Example, seed: int) -> nn.ModuleDict:
    """Return the parts that some methods train along, by the method's name; `seed` alone initialises them."""
    modules = nn.ModuleDict()
    with torch.random.fork_rng():
        for name, method in methods.items():
            if isinstance(method, Builds):
                torch.manual_seed(derive(seed, "build", name))
                with _in_one_line(name, method, example.student, example.teacher):
                    modules[name] = method.build(example)
    return modules


def require_one_generation(methods: Sequence[Method]) -> None:
    """Raise BadInputError where a method asks for several students: each starts anew, which a recipe alone can do."""
    for name, method in named(methods).items():
        if isinstance(method, Generational) and method.generations > 1:
            raise BadInputError(
                f"{name} teaches {method.generations} students, which a recipe builds; here, teach each by a call of "
                f"its own, by the one before it: {type(method).__name__}(generations=1)"
            )


def deployed(model: nn.Module, methods: Mapping[str, Method], modules: nn.ModuleDict) -> nn.Module:
    """Return the model with the parts that its methods keep at deployment."""
    for name, method in methods.items():
        if isinstance(method, Deploys):
            model = method.deploy(model, modules[name])
    return model


def _term(name: str, method: Method, student: Output, teacher: Output, context: Context) -> Tensor:
    """The method's loss; 0 where no position has a label."""
    if context.known is not None and not context.known.any():
        return 0 * student.logits.sum()
    with _in_one_line(name, method, student, teacher):
        return method(student, teacher, context)


@contextmanager
def _in_one_line(name: str, method: Method, student: Output, teacher: Output) -> Iterator[None]:
    """Raise BadInputError for a layer that no teacher has and, with the shapes, for what else a method fails on."""
    strange = [tap for tap in method.teacher_taps if tap not in teacher.features and not set(tap) & set("*?[")]
    if strange:
        raise BadInputError(f"{name}: no teacher shows {strange[0]!r}: a number and / before a layer name the teacher")
    try:
        yield
    except (EdgekdError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the user's own code: anything may come out of it
        given = [f"{who} {_shapes(output)}" for who, output in (("student", student), ("teacher", teacher))]
        advice = "; a hint's regressor brings features to one shape" if method.student_taps else ""
        raise BadInputError(f"{name}: {told(error)}; {', '.join(given)}{advice}") from error


def _output(outputs: Mapping[str, Tensor], batch: Batch, features: Mapping[str, Tensor]) -> Output:
    """What the student gave; its logits are the output that the task reads, of several the first."""
    logits = one(outputs, first(batch.task.reads), type(batch.task).__name__, "the student")
    return Output(logits, dict(features), named=outputs)


def _require_output(name: str, method: Method, task: Task) -> None:
    """Raise BadInputError where nothing says which of several outputs a method compares."""
    if isinstance(task.reads, tuple) and isinstance(method, ReadsOutput) and method.output is None:
        there = ", ".join(task.reads)
        raise BadInputError(f"{name} compares one output, the task reads {there}: name one, output = {task.reads[0]!r}")


def _shapes(output: Output) -> str:
    features = {tap: feature for tap, feature in output.features.items() if not tap.startswith("0/")}  # named twice
    return ", ".join(f"{tap!r} {tuple(value.shape)}" for tap, value in (features or {"logits": output.logits}).items())


def _check_classes(student: Tensor, teacher: Tensor) -> None:
    if student.shape == teacher.shape:
        return
    if student.shape[2:] != teacher.shape[2:] or student.ndim < 2:
        shapes = f"the student puts out {tuple(student.shape)}, the teacher {tuple(teacher.shape)}"
        raise BadInputError(f"{shapes}: outputs of one size teach each other; let one network resize its own")
    raise BadInputError(
        f"the student puts out {student.shape[1]} values per sample, the teacher {teacher.shape[1]}: "
        "both must know the same classes in the same order: edgekd.map_classes(teacher, its names, data) maps them"
    )


def named(methods: Sequence[Method]) -> dict[str, Method]:
    """Methods by the lower-case name of their class; a second one of a kind is `kd-2`."""
    named: dict[str, Method] = {}
    for method in methods:
        name = type(method).__name__.lower()
        twins = sum(1 for other in named if other.split("-")[0] == name)
        named[f"{name}-{twins + 1}" if twins else name] = method
    return named
