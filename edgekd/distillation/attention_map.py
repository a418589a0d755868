"""Attention maps before the softmax (TinyBERT, Jiao et al., arXiv:1909.10351)."""

from dataclasses import dataclass

from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class AttentionMap(Pairs):
    """Score every pair of tokens as the teacher does; layers give scores (N, H, L, L), before any padding is hidden.

    In the built-in encoder: `encoder.layer.0.attention.self.scores`.
    """

    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""

        def loss(ours: Tensor, theirs: Tensor) -> Tensor:
            return attention_map_loss(ours, theirs, context.mask)

        return self.mean(loss, student, teacher, _as_it_is, context)


def attention_map_loss(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error over heads and all pairs of real tokens; scores are (N, H, L, L), `mask` is (N, L).

    Where the networks differ in H, each one's mean over its heads is compared. Raises BadInputError where L differs.
    """
    ours, theirs = tuple(student_scores.shape[1:]), tuple(teacher_scores.shape[1:])
    if len(ours) != 3 or len(theirs) != 3 or ours[1:] != theirs[1:]:
        raise BadInputError(f"attention-map needs scores (heads, L, L) of the same tokens, not {ours} and {theirs}")
    if ours[0] != theirs[0]:
        student_scores, teacher_scores = student_scores.mean(1, keepdim=True), teacher_scores.mean(1, keepdim=True)
    errors = (student_scores - teacher_scores).square().mean(1)
    return errors.mean() if mask is None else errors[mask[:, :, None] & mask[:, None, :]].mean()


def _as_it_is(scores: Tensor, _: Tensor | None) -> Tensor:
    return scores
