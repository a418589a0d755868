"""Decoupled knowledge distillation (Zhao et al., arXiv:2203.08679)."""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class DKD(ReadsOutput):
    """Target-class and non-target-class knowledge, weighted apart (eq. 7); beside a cross-entropy of weight 1.

    The paper raises the weight linearly over the first 20 of 240 epochs: `{start = 0, end = 1, until = 0.083}`.
    """

    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 8.0
    temperature: PositiveFloat = 4.0
    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss; raises BadInputError when the first batch has labels that are no classes."""
        if context.step == 0:
            _check_labels(context.classes, classes=student.logits.shape[1])
        return dkd_loss(
            context.rows(student.logits),
            context.rows(teacher.logits),
            context.classes,
            self.alpha,
            self.beta,
            self.temperature,
        )


def dkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, alpha: float, beta: float, temperature: float
) -> Tensor:
    """T² · (α · KL(target or not) + β · KL(among the others)), teacher ‖ student, mean over the batch.

    Logits are (N, C), labels (N,) int64. The first compares the chances of the labelled class and of all others
    together, the second the softmax without the labelled class; both of logits / T.
    """
    is_target = F.one_hot(labels, student_logits.shape[1]).bool()
    ours, theirs = (_decouple(logits / temperature, is_target) for logits in (student_logits, teacher_logits))
    target, others = (F.kl_div(s, t, reduction="batchmean", log_target=True) for s, t in zip(ours, theirs, strict=True))
    return (alpha * target + beta * others) * temperature**2


def _decouple(logits: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of target and rest, (N, 2), and of each class among the rest, (N, C), 0 for the target.

    The rest's is summed in logarithms: 1 − p would round to 0 for a confident network.
    """
    chances = F.log_softmax(logits, dim=1)
    rest = chances.masked_fill(is_target, -torch.inf).logsumexp(1, keepdim=True)
    target = chances.masked_fill(~is_target, 0.0).sum(1, keepdim=True)
    return torch.cat((target, rest), dim=1), (chances - rest).masked_fill(is_target, 0.0)


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.is_floating_point():
        raise BadInputError("dkd needs a class for every sample; the data has scores: use kd or mse")
    if labels.min() < 0 or labels.max() >= classes:
        raise BadInputError(
            f"dkd: labels go from {labels.min()} to {labels.max()}, but the student has the classes 0 to {classes - 1}"
        )
