"""Knowledge distillation by soft labels (Hinton et al., arXiv:1503.02531)."""

from dataclasses import dataclass

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.recipe import Weight


@dataclass(frozen=True)
class KD(ReadsOutput):
    """Match the teacher's softened class probabilities; `standardize` compares z-scores of the logits instead."""

    temperature: PositiveFloat = 4.0
    weight: Weight = 0.9
    standardize: bool = False

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        return kd_loss(context.rows(student.logits), context.rows(teacher.logits), self.temperature, self.standardize)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float, standardize: bool = False) -> Tensor:
    """T² · KL(teacher ‖ student) of softmax(logits / T), mean over the batch; logits are (N, C).

    T² keeps the gradient's size when T grows. `standardize` first gives every sample's logits mean 0 and deviation 1
    (Sun et al., arXiv:2403.01427).
    """
    if standardize:
        student_logits, teacher_logits = _z_scores(student_logits), _z_scores(teacher_logits)
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def _z_scores(logits: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(logits, dim=1, correction=0, keepdim=True)
    return (logits - mean) / (deviation + 1e-7)
