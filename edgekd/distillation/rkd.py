"""Relational knowledge distillation (Park et al., arXiv:1904.05068)."""

from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, embeddings, over, unit
from edgekd.recipe import Weight


@dataclass(frozen=True)
class RKD(Pairs):
    """Keep the teacher's distances and angles between samples; feature maps are averaged over their positions."""

    distance_weight: NonNegativeFloat = 25.0
    angle_weight: NonNegativeFloat = 50.0
    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""

        def loss(ours: Tensor, theirs: Tensor) -> Tensor:
            return rkd_loss(ours, theirs, self.distance_weight, self.angle_weight)

        return self.mean(loss, student, teacher, embeddings, context)


def rkd_loss(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Tensor:
    """Smooth-L1 of all N² distances, over their non-zero mean, and of the cosines of all N³ angles; means.

    Embeddings are (N, D), of any D; memory grows with N² · D + N³.
    """
    ours, theirs = (embedding[None] - embedding[:, None] for embedding in (student_embedding, teacher_embedding))
    distance = F.smooth_l1_loss(_distances(ours), _distances(theirs))
    angle = F.smooth_l1_loss(_cosines(ours), _cosines(theirs))
    return distance_weight * distance + angle_weight * angle


def _distances(differences: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(differences, dim=2)
    return over(lengths, lengths.sum() / torch.count_nonzero(lengths).clamp(min=1))


def _cosines(differences: Tensor) -> Tensor:
    """[j, i, k]: of the angle at j between i and k."""
    directions = unit(differences, dim=2)
    return directions @ directions.mT
