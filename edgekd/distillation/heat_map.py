"""Where a centre head's teacher sees objects, as soft targets of a focal loss (Li et al., arXiv:2006.04388, eq. 3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.errors import BadInputError
from edgekd.recipe import Weight

EDGES = 4  # the last channels: a box in each cell


@dataclass(frozen=True)
class HeatMap:
    """Be as sure as the teacher of a centre in each cell, and as unsure; outputs are (N, C + 4, H, W).

    Copying the teacher's boxes often costs accuracy, so `boxes`, their share of the loss, is 0 until one is set.
    """

    boxes: NonNegativeFloat = 0.0
    weight: Weight = 1.0
    student_taps: ClassVar[tuple[str, ...]] = ()
    teacher_taps: ClassVar[tuple[str, ...]] = ()

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        if student.logits.ndim != 4 or student.logits.shape[1] <= EDGES:
            raise BadInputError(f"heat-map needs outputs (N, classes + 4, H, W), not {tuple(student.logits.shape)}")
        ours, theirs = (output.logits[:, :-EDGES] for output in (student, teacher))
        loss = heat_map_loss(ours, theirs)
        if not self.boxes:
            return loss
        return loss + self.boxes * box_loss(student.logits[:, -EDGES:], teacher.logits[:, -EDGES:], theirs)


def heat_map_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Σ (σ_T - σ_S)² · BCE(σ_S, σ_T) over all cells of heat maps (N, C, H, W), by the sum of the teacher's σ_T."""
    wanted = teacher_logits.sigmoid()
    missed = (wanted - student_logits.sigmoid()).square()
    losses = missed * F.binary_cross_entropy_with_logits(student_logits, wanted, reduction="none")
    return losses.sum() / wanted.sum().clamp(min=1)


def box_loss(student_boxes: Tensor, teacher_boxes: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean absolute difference of boxes (N, 4, H, W), where cells count as much as the teacher is sure of them."""
    sure = teacher_logits.sigmoid().amax(1)
    difference = torch.mean((student_boxes - teacher_boxes).abs(), dim=1)
    return (sure * difference).sum() / sure.sum().clamp(min=1)
