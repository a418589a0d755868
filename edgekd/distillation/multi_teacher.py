"""Several teachers at once, by mean, fixed weights or confidence (CA-MKD, Zhang et al., arXiv:2201.00007)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class MultiTeacher(ReadsOutput):
    """Match the softened class probabilities of every teacher.

    `weighting` is "mean", one number per teacher (divided by their sum), or "confidence": per sample, by how well each
    teacher knows the label. With a single teacher this is `kd`.
    """

    temperature: PositiveFloat = 4.0
    weighting: Literal["mean", "confidence"] | tuple[NonNegativeFloat, ...] = "mean"
    weight: Weight = 0.9

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss; raises BadInputError where there are not as many teachers as weights."""
        teachers = [context.rows(member.logits) for member in teacher.members or (teacher,)]
        weights = self._weights(teachers, context).to(student.logits)
        return multi_teacher_loss(context.rows(student.logits), teachers, weights, self.temperature)

    def _weights(self, teachers: Sequence[Tensor], context: Context) -> Tensor:
        """(teachers, 1) or (teachers, N), each column summing to 1."""
        if self.weighting == "confidence":
            return confidence(teachers, context.classes)
        fixed = torch.ones(len(teachers)) if self.weighting == "mean" else torch.tensor(self.weighting)
        if len(fixed) != len(teachers) or fixed.sum() == 0:
            raise BadInputError(
                f"multi-teacher: weighting needs one number for each of {len(teachers)} teachers, not all of them 0; "
                f"it has {list(self.weighting)}"
            )
        return (fixed / fixed.sum())[:, None]


def multi_teacher_loss(
    student_logits: Tensor, teacher_logits: Sequence[Tensor], weights: Tensor, temperature: float = 4.0
) -> Tensor:
    """T² · Σ over teachers of weight · KL(teacher ‖ student) of softmax(logits / T), mean over the batch.

    Logits are (N, C); weights (teachers, N), or (teachers, 1) for all samples alike.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teachers = F.log_softmax(torch.stack(list(teacher_logits)) / temperature, dim=2)
    divergences = (teachers.exp() * (teachers - student)).sum(2)
    return (weights * divergences).sum(0).mean() * temperature**2


def confidence(teacher_logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """(teachers, N) weights (1 − softmax over teachers of the cross-entropy) / (teachers − 1), eq. 3 of CA-MKD.

    Logits are (N, C), labels (N,) int64. One teacher has the weight 1. Raises BadInputError where labels are scores.
    """
    if labels.is_floating_point():
        raise BadInputError("multi-teacher: 'confidence' needs classes, but these labels are scores: use 'mean'")
    if len(teacher_logits) == 1:
        return torch.ones(1, 1)
    errors = torch.stack([F.cross_entropy(logits, labels, reduction="none") for logits in teacher_logits])
    return (1 - errors.softmax(0)) / (len(errors) - 1)
