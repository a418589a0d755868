"""Localisation distillation: the teacher's distributions over where a box's edges are (Zheng et al., arXiv:2102.12252).

For heads that put out logits over bins for every edge of a box, as in generalised focal loss (arXiv:2006.04388).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Layer, naming
from edgekd.errors import BadInputError
from edgekd.recipe import Weight

EDGES = 4  # of a box


@dataclass(frozen=True)
class LD:
    """Be as sure as the teacher of where each edge is, and as unsure; `layers` give box logits (N, 4 · bins, …).

    `scores` are the teacher's layers of class logits (N, classes, …), one for each pair: positions count as much as the
    teacher sees an object there. Copying boxes often costs accuracy, so the weight is 0 until one is set; the paper has
    0.25.
    """

    layers: Annotated[Mapping[Layer, Layer], Field(min_length=1)]
    scores: tuple[Layer, ...] = ()
    bins: Annotated[int, Field(ge=2)] = 17
    temperature: PositiveFloat = 10.0
    weight: Weight = 0.0

    @property
    def student_taps(self) -> tuple[str, ...]:
        """The student's box layers."""
        return tuple(self.layers)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The teacher's box layers, and the scores beside them."""
        return tuple(dict.fromkeys([*self.layers.values(), *self.scores]))

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        if self.scores and len(self.scores) != len(self.layers):
            raise BadInputError(f"ld: {len(self.scores)} scores for {len(self.layers)} pairs of layers")
        losses = []
        for number, (ours, theirs) in enumerate(self.layers.items()):
            scores = teacher.features[self.scores[number]] if self.scores else None
            boxes = student.features[ours], teacher.features[theirs]
            with naming(ours, theirs):
                losses.append(ld_loss(*boxes, self.bins, self.temperature, scores))
        return torch.stack(losses).mean()


def ld_loss(
    student_boxes: Tensor, teacher_boxes: Tensor, bins: int, temperature: float = 10.0, scores: Tensor | None = None
) -> Tensor:
    """T² · KL(teacher ‖ student) of softmax over the bins of an edge / T, summed over a box's edges (eq. 2 and 3).

    Boxes are (N, 4 · bins, …). The mean over positions is weighted by the teacher's largest class probability,
    sigmoid of `scores` (N, classes, …), or all alike. Raises BadInputError for other shapes.
    """
    if student_boxes.shape != teacher_boxes.shape or student_boxes.shape[1] != EDGES * bins:
        shapes = f"{tuple(student_boxes.shape[1:])} and {tuple(teacher_boxes.shape[1:])}"
        raise BadInputError(f"ld needs boxes (4 × {bins} bins = {EDGES * bins}, …) on one grid, not {shapes}")
    ours, theirs = (
        F.log_softmax(boxes.reshape(len(boxes), EDGES, bins, -1) / temperature, dim=2)
        for boxes in (student_boxes, teacher_boxes)
    )
    boxes = F.kl_div(ours, theirs, reduction="none", log_target=True).sum((1, 2)) * temperature**2
    if scores is None:
        return boxes.mean()
    if scores.shape[0] != len(boxes) or scores.shape[2:] != student_boxes.shape[2:]:
        raise BadInputError(
            f"ld: scores {tuple(scores.shape[1:])} are on another grid than boxes {tuple(student_boxes.shape[1:])}"
        )
    weights = scores.flatten(2).amax(1).sigmoid()
    return (weights * boxes).sum() / weights.sum()
