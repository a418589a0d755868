"""Hidden states: their direction (DistilBERT, arXiv:1910.01108) or their values (TinyBERT, arXiv:1909.10351)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output
from edgekd.distillation._pairs import Pairs
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Hidden(Pairs):
    """Bring the state of every token to the teacher's; states are (N, L, D).

    Where widths differ, a learned projection of each pair's own lies between; it is dropped after teaching.
    """

    loss: Literal["cosine", "mse"] = "cosine"
    weight: Weight = 1.0

    def build(self, example: Example) -> nn.Module:
        """One projection per pair of layers; raises BadInputError where layers are not of the same tokens."""
        projections = nn.ModuleList()
        for ours, theirs in self.layers.items():
            student, teacher = example.student.features[ours], example.teacher.features[theirs]
            if student.shape[:-1] != teacher.shape[:-1]:
                shapes = f"{ours!r} of shape {tuple(student.shape[1:])}, {theirs!r} of {tuple(teacher.shape[1:])}"
                raise BadInputError(f"hidden needs states of the same tokens, not {shapes}: hint has a regressor")
            projections.append(_projection(student.shape[-1], teacher.shape[-1]))
        return projections

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        assert isinstance(context.module, nn.ModuleList)
        loss, losses = hidden_loss if self.loss == "cosine" else F.mse_loss, []
        for project, (ours, theirs) in zip(context.module, self.layers.items(), strict=True):
            states, targets = student.features[ours], teacher.features[theirs]
            losses.append(loss(project(_real(states, context.mask)), _real(targets, context.mask)))
        return torch.stack(losses).mean()


def hidden_loss(student_states: Tensor, teacher_states: Tensor) -> Tensor:
    """Mean of 1 - cosine over the last axis; states are (tokens, D), padding already removed."""
    return (1 - F.cosine_similarity(student_states, teacher_states, dim=-1)).mean()


def _projection(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False)


def _real(states: Tensor, mask: Tensor | None) -> Tensor:
    """(N, L, D) to (tokens, D), without the padding."""
    return states.flatten(0, -2) if mask is None else states[mask]
