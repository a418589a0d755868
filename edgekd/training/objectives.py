"""What training minimises."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation import Builds, Context, Deploys, Method, Output
from edgekd.training.batches import Batch, Batches
from edgekd.training.seeding import derive
from edgekd.training.taps import Taps
from edgekd.training.teacher import TeacherSource

Run = Callable[[Tensor], Tensor]
Terms = dict[str, Tensor]


class Objective(Protocol):
    """A loss with, in `modules`, the parts of it that are trained along with the model."""

    modules: nn.ModuleDict

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get ready, before the first step, for the samples and views that training will show."""

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss and its unweighted terms; `run` gives the model's float32 logits."""


class CrossEntropy:
    """Mean cross-entropy with the labels."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = label_smoothing
        self.modules = nn.ModuleDict()

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Nothing to do."""

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss."""
        loss = F.cross_entropy(run(batch.inputs), batch.labels, label_smoothing=self._label_smoothing)
        return loss, {"cross_entropy": loss}


class Distill:
    """Weighted sum of cross-entropy and distillation losses, read from the student by taps."""

    def __init__(
        self,
        student: nn.Module,
        teacher: TeacherSource,
        methods: Sequence[Method],
        *,
        cross_entropy: float = 0.1,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._student, self._teacher, self._seed = student, teacher, seed
        self._methods = _named(methods)
        self._cross_entropy, self._label_smoothing = cross_entropy, label_smoothing
        self._taps = tuple(dict.fromkeys(tap for method in methods for tap in method.student_taps))
        self.modules = nn.ModuleDict()

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get the teacher's answers and build the methods' trainable parts, which `seed` alone initialises."""
        self._teacher.prepare(batches, views)
        builders = {name: method for name, method in self._methods.items() if isinstance(method, Builds)}
        if not builders:
            return
        example = batches.at(np.arange(min(2, len(batches.data.train))), views[0])
        student, teacher = self._look(example), self._teacher.outputs(example)
        with torch.random.fork_rng():
            for name, method in builders.items():
                torch.manual_seed(derive(self._seed, "build", name))
                self.modules[name] = method.build(student, teacher, example.inputs)

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, Terms]:
        """Scalar loss."""
        with Taps(self._student, self._taps) as taps:
            logits = run(batch.inputs)
        student = Output(logits, {name: feature.float() for name, feature in taps.features.items()})
        teacher = self._teacher.outputs(batch)
        hard = F.cross_entropy(logits, batch.labels, label_smoothing=self._label_smoothing)
        loss, terms = self._cross_entropy * hard, {"cross_entropy": hard}
        built = dict(self.modules.items())
        for name, method in self._methods.items():
            module = built.get(name)
            terms[name] = method(
                student, teacher, Context(step, total_steps, batch.indices, batch.labels, module=module)
            )
            loss = loss + method.weight * terms[name]
        return loss, terms

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student with the parts that its methods keep at deployment."""
        for name, method in self._methods.items():
            if isinstance(method, Deploys):
                student = method.deploy(student, self.modules[name])
        return student

    @torch.no_grad()
    def _look(self, batch: Batch) -> Output:
        training = self._student.training
        self._student.eval()
        with Taps(self._student, self._taps) as taps:
            logits = self._student(batch.inputs)
        self._student.train(training)
        return Output(logits, dict(taps.features))


def _named(methods: Sequence[Method]) -> dict[str, Method]:
    """Methods by the lower-case name of their class; a second one of a kind is `kd-2`."""
    named: dict[str, Method] = {}
    for method in methods:
        name = type(method).__name__.lower()
        twins = sum(1 for other in named if other.split("-")[0] == name)
        named[f"{name}-{twins + 1}" if twins else name] = method
    return named
