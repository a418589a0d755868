"""Neuron selectivity transfer (Huang and Wang, arXiv:1707.01219)."""

from dataclasses import dataclass

from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, maps, on_one_grid, unit
from edgekd.recipe import Weight


@dataclass(frozen=True)
class NST(Pairs):
    """Let channels be selective for the same regions as the teacher's, in distribution; their numbers may differ."""

    weight: Weight = 50.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        return self.mean(nst_loss, student, teacher, maps, context)


def nst_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the two sets of channel maps, kernel (x·y)², mean over the batch.

    Features are (N, C, …), each channel of length 1 over its positions. Of two sizes the larger feature is
    average-pooled to the smaller first. Raises BadInputError without positions.
    """
    ours, theirs = (unit(feature.flatten(2), dim=2) for feature in on_one_grid(student_feature, teacher_feature))
    return _kernel(ours, ours) + _kernel(theirs, theirs) - 2 * _kernel(ours, theirs)


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.mT).square().mean()
