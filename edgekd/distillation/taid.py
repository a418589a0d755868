"""Temporally adaptive interpolated distillation (TAID, Shing et al., arXiv:2501.16937)."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output, ReadsOutput
from edgekd.recipe import Weight

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TAID(ReadsOutput):
    """Learn from a mixture of student and teacher that moves to the teacher, faster while the loss falls.

    The teacher's share t goes from `t_start` to `t_end`; `alpha` is the largest step beyond the linear schedule and
    `beta` the momentum of the loss's relative change.
    """

    t_start: Share = 0.4
    t_end: Share = 1.0
    alpha: Share = 5e-4
    beta: Share = 0.99
    weight: Weight = 1.0

    def build(self, example: Example) -> nn.Module:
        """The share t and what moves it."""
        return Interpolation(self.t_start)

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss; moves t for the next step."""
        assert isinstance(context.module, Interpolation)
        loss = taid_loss(context.rows(student.logits), context.rows(teacher.logits), context.module.t)
        linear = self.t_start + (self.t_end - self.t_start) * (context.step + 1) / context.total_steps
        context.module.advance(loss.detach(), linear, self)
        return loss


class Interpolation(nn.Module):
    """Where the mixture stands: t, the momentum m and the last loss J, infinite before there was one."""

    t: Tensor
    momentum: Tensor
    last_loss: Tensor

    def __init__(self, t_start: float) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(t_start))
        self.register_buffer("momentum", torch.tensor(0.0))
        self.register_buffer("last_loss", torch.tensor(math.inf))

    @torch.no_grad()
    def advance(self, loss: Tensor, linear: float, parameters: TAID) -> None:
        """Algorithm 1: δ = (J' − J) / J', m ← β·m + (1 − β)·δ, t ← t + α·sigmoid(m)·(1 − t), at least `linear`."""
        step = torch.zeros_like(self.t)
        if self.last_loss.isfinite():
            change = (self.last_loss - loss) / (self.last_loss + 1e-15)
            self.momentum.lerp_(change, 1 - parameters.beta)
            step = parameters.alpha * self.momentum.sigmoid() * (1 - self.t)
        self.t.copy_((self.t + step).clamp(min=linear).clamp(max=parameters.t_end))
        self.last_loss.copy_(loss)


def taid_loss(student_logits: Tensor, teacher_logits: Tensor, t: float | Tensor) -> Tensor:
    """Cross-entropy of the student against softmax((1 − t)·student + t·teacher), mean over the batch; logits (N, C).

    The student inside the mixture is held fixed; t = 1 is the plain teacher.
    """
    mixture = torch.lerp(student_logits.detach(), teacher_logits, t)
    return F.cross_entropy(student_logits, mixture.softmax(dim=1))
