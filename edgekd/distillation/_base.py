"""What a distillation method sees, and what it must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from edgekd.networks import Inputs
from edgekd.outputs import one
from edgekd.recipe import Ramp, Weight


def weight_at(weight: Weight, progress: float) -> float:
    """What a weight, fixed or moving, is when `progress` (0…1) of the steps are done."""
    return weight.at(progress) if isinstance(weight, Ramp) else weight


@dataclass(frozen=True)
class Output:
    """What a network gave for a batch.

    Attributes:
        logits: (N, C) float32: logits, or the embedding of a network that has no classes.
        features: (N, …) float32 by tap name.
        members: of several teachers, each one's own output; `logits` are then their mean. Empty for one network.
        named: (N, …) float32, what the network put out by name; of a teacher what some method reads of it.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    members: tuple["Output", ...] = ()
    named: Mapping[str, Tensor] = field(default_factory=dict)

    def of(self, name: str | None, who: str) -> "Output":
        """Return what a method sees that reads the output of this name: that, in the place of the logits."""
        if name is None:
            return self
        members = tuple(member.of(name, who) for member in self.members)
        return replace(self, logits=one(self.named, name, "a method", who), members=members)


@dataclass(frozen=True)
class Context:
    """Where training stands, and what the networks saw.

    Attributes:
        step: steps done, of `total_steps`.
        indices: (N,) int64 positions of the samples in the training set.
        labels: (N, …), as the task has them: int64 classes (N,), a class for each pixel …
        inputs: (N, …) what the student saw; several by name.
        mask: (N, L) bool, the tokens that are not padding; None where the input is not a sequence of tokens.
        module: what the method's own `build` returned.
        known: (N, …) bool, the positions of dense logits (N, C, …) that have a label; None where all have.
    """

    step: int
    total_steps: int
    indices: Tensor
    labels: Tensor
    inputs: Inputs
    mask: Tensor | None = None
    module: nn.Module | None = None
    known: Tensor | None = None

    def rows(self, logits: Tensor) -> Tensor:
        """Logits (N, C, …) as (M, C), a row for each known position of all samples; (N, C) stay as they are."""
        rows = logits.movedim(1, -1).flatten(0, -2) if logits.ndim > 2 else logits
        return rows if self.known is None else rows[self.known.flatten()]

    @property
    def classes(self) -> Tensor:
        """(M,) the labels of those rows."""
        labels = self.labels.flatten() if self.labels.ndim > 1 else self.labels
        return labels if self.known is None else labels[self.known.flatten()].long()


@dataclass(frozen=True)
class Example:
    """What a method builds its parts from.

    Attributes:
        student_model: the student, untrained.
        teacher_model: the teacher, which must not be changed.
        student: the student's output for a few samples.
        teacher: the teacher's output for the same samples.
        labels: (samples,) int64, those of the whole training set.
    """

    student_model: nn.Module
    teacher_model: nn.Module
    student: Output
    teacher: Output
    labels: Tensor


class Method(Protocol):
    """A frozen dataclass of hyper-parameters that turns two outputs into a scalar loss, before its `weight`."""

    @property
    def weight(self) -> Weight:
        """Factor of this loss in the sum."""

    @property
    def student_taps(self) -> Sequence[str]:
        """Names of the student's modules whose outputs the loss needs."""

    @property
    def teacher_taps(self) -> Sequence[str]:
        """Names of the teacher's modules whose outputs the loss needs."""

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""


@dataclass(frozen=True, kw_only=True)
class ReadsOutput:
    """A method that compares outputs; `output` names the one, where networks have several and the task reads many."""

    output: str | None = None
    student_taps: ClassVar[tuple[str, ...]] = ()
    teacher_taps: ClassVar[tuple[str, ...]] = ()


@runtime_checkable
class Builds(Protocol):
    """A method with trainable parts or a memory of its own, checkpointed with the student and dropped at export."""

    def build(self, example: Example) -> nn.Module:
        """The parts; whatever is random in them comes from torch's generator, which the caller has seeded."""


@runtime_checkable
class Deploys(Protocol):
    """A method whose parts stay in the deployed network."""

    def deploy(self, student: nn.Module, module: nn.Module) -> nn.Module:
        """The network to export; it shares `student`'s and `module`'s parameters, and `student` is left as it was."""


@runtime_checkable
class Generational(Protocol):
    """A method whose student becomes the teacher of the next one, from fresh initial weights, `generations` in all."""

    @property
    def generations(self) -> int:
        """How many students are taught, one after the other."""
