"""Similarity-preserving distillation (Tung and Mori, arXiv:1907.09682)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, maps, unit
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Similarity(Pairs):
    """Find the same samples of a batch alike as the teacher does; shapes may differ."""

    weight: Weight = 3000.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        return self.mean(similarity_loss, student, teacher, maps, context)


def similarity_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """‖difference of the batch Gram matrices, rows of length 1‖²_F / N²; features are (N, …)."""
    return (_gram(student_feature) - _gram(teacher_feature)).square().mean()


def _gram(feature: Tensor) -> Tensor:
    flat = torch.flatten(feature, 1)
    return unit(flat @ flat.T, dim=1)
