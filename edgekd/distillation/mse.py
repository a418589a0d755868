"""Regression of the teacher's logits (Kim et al., arXiv:2105.08919)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.recipe import Weight


@dataclass(frozen=True)
class MSE(ReadsOutput):
    """Match the teacher's logits themselves; the paper found it best without a cross-entropy."""

    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        return mse_loss(context.rows(student.logits), context.rows(teacher.logits))


def mse_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean over batch and classes of the squared difference; logits are (N, C)."""
    return F.mse_loss(student_logits, teacher_logits)
