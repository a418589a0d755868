"""Self-attention relations (MiniLM, Wang et al., arXiv:2002.10957; MiniLMv2, arXiv:2012.15828)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Layer
from edgekd.errors import BadInputError
from edgekd.recipe import Weight

Part = Literal["query", "key", "value"]


@dataclass(frozen=True)
class Relation:
    """Relate tokens as one attention of the teacher does: query with query, key with key, value with value.

    Layers are attentions with modules `query`, `key` and `value`, such as `encoder.layer.1.attention.self`; the papers
    take the student's last and the teacher's last or one of its upper ones. Their heads and widths may differ, for both
    are split again into `relation_heads`, of which both widths must be multiples.
    """

    student_layer: Layer
    teacher_layer: Layer
    relations: Annotated[tuple[Part, ...], Field(min_length=1)] = ("query", "key", "value")
    relation_heads: PositiveInt = 48
    weight: Weight = 1.0

    @property
    def student_taps(self) -> tuple[str, ...]:
        """The student's projections."""
        return tuple(f"{self.student_layer}.{part}" for part in self.relations)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The teacher's projections."""
        return tuple(f"{self.teacher_layer}.{part}" for part in self.relations)

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the sum over the relations; raises BadInputError that names the layers."""
        losses = []
        for ours, theirs in zip(self.student_taps, self.teacher_taps, strict=True):
            states, targets = student.features[ours], teacher.features[theirs]
            try:
                losses.append(relation_loss(states, targets, self.relation_heads, context.mask))
            except BadInputError as error:
                raise BadInputError(f"student layer {ours!r} and teacher layer {theirs!r}: {error}") from error
        return torch.stack(losses).sum()


def relation_loss(student_states: Tensor, teacher_states: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """KL(teacher ‖ student) of softmax(x xᵀ / √d) over real tokens; mean over heads and the real tokens that ask.

    States x are (N, L, D), split into `heads` of d = D / heads; D may differ, L may not. `mask` is (N, L). Raises
    BadInputError where L differs or a D is not a multiple of `heads`.
    """
    _check(tuple(student_states.shape), tuple(teacher_states.shape), heads)
    ours, theirs = (_log_relation(states, heads, mask) for states in (student_states, teacher_states))
    divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1).mean(1)
    return divergence.mean() if mask is None else divergence[mask].mean()


def _log_relation(states: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """(N, L, D) to log-probabilities (N, heads, L, L)."""
    split = states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / split.shape[-1] ** 0.5
    if mask is not None:  # the least number, not -inf: a sample without tokens would give NaN
        scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
    return F.log_softmax(scores, dim=-1)


def _check(ours: tuple[int, ...], theirs: tuple[int, ...], heads: int) -> None:
    if len(ours) != 3 or len(theirs) != 3 or ours[:2] != theirs[:2]:
        raise BadInputError(f"relation needs states (L, D) of the same tokens, not {ours[1:]} and {theirs[1:]}")
    if ours[2] % heads or theirs[2] % heads:
        raise BadInputError(f"relation_heads = {heads} must divide both widths, {ours[2]} and {theirs[2]}")
