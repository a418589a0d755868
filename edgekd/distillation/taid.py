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
        """Scalar loss; moves t at the first piece of each step but the first."""
        assert isinstance(context.module, Interpolation)
        logits = context.rows(student.logits)
        linear = self.t_start + (self.t_end - self.t_start) * context.step / context.total_steps
        context.module.advance(context.step, linear, self)
        loss = taid_loss(logits, context.rows(teacher.logits), context.module.t)
        context.module.note(loss.detach(), len(logits))
        return loss


class Interpolation(nn.Module):
    """Where the mixture stands: t, the momentum m, the loss J of the step before, infinite before there was one.

    `loss` is the mean over the `rows` that this `step` has shown so far, of one piece of its batch or several.
    """

    t: Tensor
    momentum: Tensor
    last_loss: Tensor
    loss: Tensor
    rows: Tensor
    step: Tensor

    def __init__(self, t_start: float) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(t_start))
        self.register_buffer("momentum", torch.tensor(0.0))
        self.register_buffer("last_loss", torch.tensor(math.inf))
        self.register_buffer("loss", torch.tensor(0.0))
        self.register_buffer("rows", torch.tensor(0))
        self.register_buffer("step", torch.tensor(0))

    @torch.no_grad()
    def advance(self, number: int, linear: float, parameters: TAID) -> None:
        """Algorithm 1, once a step: δ = (J' − J) / J', m ← β·m + (1 − β)·δ, t ← t + α·sigmoid(m)·(1 − t) ≥ linear."""
        if number == self.step:
            return
        move = torch.zeros_like(self.t)
        if self.last_loss.isfinite():
            change = (self.last_loss - self.loss) / (self.last_loss + 1e-15)
            self.momentum.lerp_(change, 1 - parameters.beta)
            move = parameters.alpha * self.momentum.sigmoid() * (1 - self.t)
        self.t.copy_((self.t + move).clamp(min=linear).clamp(max=parameters.t_end))
        self.last_loss.copy_(self.loss)
        self.rows.zero_()
        self.step.fill_(number)

    @torch.no_grad()
    def note(self, loss: Tensor, rows: int) -> None:
        """Take the mean loss of some rows into this step's."""
        self.rows += rows
        self.loss.lerp_(loss, rows / self.rows)


def taid_loss(student_logits: Tensor, teacher_logits: Tensor, t: float | Tensor) -> Tensor:
    """Cross-entropy of the student against softmax((1 − t)·student + t·teacher), mean over the batch; logits (N, C).

    The student inside the mixture is held fixed; t = 1 is the plain teacher.
    """
    mixture = torch.lerp(student_logits.detach(), teacher_logits, t)
    return F.cross_entropy(student_logits, mixture.softmax(dim=1))
