"""What a distillation method sees, and what it must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Output:
    """What a network gave for a batch: float32 logits (N, C) and tapped features (N, …) by tap name."""

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where training stands.

    Attributes:
        step: steps done, of `total_steps`.
        indices: (N,) int64 positions of the samples in the training set.
        labels: (N,) int64.
        mask: (N,) bool, the samples whose label may be used; None means all.
        module: what the method's own `build` returned.
    """

    step: int
    total_steps: int
    indices: Tensor
    labels: Tensor
    mask: Tensor | None = None
    module: nn.Module | None = None


class Method(Protocol):
    """A frozen dataclass of hyper-parameters that turns two outputs into a scalar loss, before its `weight`."""

    @property
    def weight(self) -> float:
        """Factor of this loss in the sum."""

    @property
    def student_taps(self) -> Sequence[str]:
        """Names of the student's modules whose outputs the loss needs."""

    @property
    def teacher_taps(self) -> Sequence[str]:
        """Names of the teacher's modules whose outputs the loss needs."""

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""


@runtime_checkable
class Builds(Protocol):
    """A method with trainable parts of its own, checkpointed with the student and dropped at export."""

    def build(self, student: Output, teacher: Output, example: Tensor) -> nn.Module:
        """The parts, given what both networks put out for the batch `example`."""


@runtime_checkable
class Deploys(Protocol):
    """A method whose parts stay in the deployed network."""

    def deploy(self, student: nn.Module, module: nn.Module) -> nn.Module:
        """The network to export."""
