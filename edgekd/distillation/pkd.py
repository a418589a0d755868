"""Pearson correlation of features, for detectors of unlike kinds (PKD, Cao et al., arXiv:2207.02039)."""

from dataclasses import dataclass

from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, maps, on_one_grid, unit
from edgekd.distillation.cwd import require_channels
from edgekd.recipe import Weight


@dataclass(frozen=True)
class PKD(Pairs):
    """Let every channel rise and fall where the teacher's does, whatever its scale and offset."""

    weight: Weight = 6.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        return self.mean(pkd_loss, student, teacher, maps, context)


def pkd_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """1 - Pearson's r of each channel over batch and positions, mean over the channels (eq. 3 and 4).

    That is half the squared error of the standardised features. They are (N, C, …); of two grids the finer is
    average-pooled to the other. A channel that is the same everywhere has r = 0 and no gradient. Raises BadInputError
    where the channels differ, or where there are no positions.
    """
    require_channels(student_feature, teacher_feature)
    ours, theirs = (_centred(feature) for feature in on_one_grid(student_feature, teacher_feature))
    return (1 - (unit(ours, dim=1) * unit(theirs, dim=1)).sum(1)).mean()


def _centred(feature: Tensor) -> Tensor:
    """(C, N · positions), each channel without its mean."""
    channels = feature.transpose(0, 1).flatten(1)
    return channels - channels.mean(1, keepdim=True)
