"""Attention transfer (Zagoruyko and Komodakis, arXiv:1612.03928)."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, maps, on_one_grid, unit
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Attention(Pairs):
    """Look where the teacher looks: maps of the mean |activation|^p over channels, whose numbers may differ."""

    p: Annotated[float, Field(ge=1)] = 2.0
    weight: Weight = 1000.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""

        def loss(ours: Tensor, theirs: Tensor) -> Tensor:
            return attention_loss(ours, theirs, self.p)

        return self.mean(loss, student, teacher, maps, context)


def attention_loss(student_feature: Tensor, teacher_feature: Tensor, p: float = 2) -> Tensor:
    """Mean of squared differences of the attention maps, each sample's of length 1; features are (N, C, …).

    Of two sizes the larger feature is average-pooled to the smaller first. Raises BadInputError without positions.
    """
    ours, theirs = on_one_grid(student_feature, teacher_feature)
    return (_attention(ours, p) - _attention(theirs, p)).square().mean()


def _attention(feature: Tensor, p: float) -> Tensor:
    return unit(feature.abs().pow(p).mean(1).flatten(1), dim=1)
