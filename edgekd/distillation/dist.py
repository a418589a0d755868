"""Relations instead of values, for a stronger teacher: DIST (Huang et al., arXiv:2205.10536)."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.distillation._pairs import unit
from edgekd.recipe import Weight


@dataclass(frozen=True)
class DIST(ReadsOutput):
    """Correlate with the teacher over the classes (`beta`) and over the batch (`gamma`).

    Defaults are the paper's for CIFAR-100, beside a cross-entropy of weight 1.
    """

    beta: NonNegativeFloat = 2.0
    gamma: NonNegativeFloat = 2.0
    temperature: PositiveFloat = 4.0
    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        return dist_loss(
            context.rows(student.logits), context.rows(teacher.logits), self.beta, self.gamma, self.temperature
        )


def dist_loss(student_logits: Tensor, teacher_logits: Tensor, beta: float, gamma: float, temperature: float) -> Tensor:
    """T² · (β · mean over samples of 1 − Pearson(classes) + γ · mean over classes of 1 − Pearson(samples)).

    Of the probabilities softmax(logits / T); logits are (N, C). Where one of both is constant, Pearson counts as 0.
    """
    ours, theirs = ((logits / temperature).softmax(1) for logits in (student_logits, teacher_logits))
    between_classes = (1 - _pearson(ours, theirs, dim=1)).mean()
    within_classes = (1 - _pearson(ours, theirs, dim=0)).mean()
    return (beta * between_classes + gamma * within_classes) * temperature**2


def _pearson(ours: Tensor, theirs: Tensor, dim: int) -> Tensor:
    first, second = (unit(values - values.mean(dim, keepdim=True), dim) for values in (ours, theirs))
    return (first * second).sum(dim)
