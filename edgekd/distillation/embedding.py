"""Sentence embeddings: direction (Reimers & Gurevych, arXiv:2004.09813), structure (Tung & Mori, arXiv:1907.09682)."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.distillation.hidden import hidden_loss
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Embedding(ReadsOutput):
    """Point where the teacher points, and be as similar to the batch's other samples as there; needs no labels."""

    structure: NonNegativeFloat = 4.0
    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        return embedding_loss(student.logits, teacher.logits, self.structure)


def embedding_loss(student_embedding: Tensor, teacher_embedding: Tensor, structure: float = 4.0) -> Tensor:
    """Mean of 1 - cosine, plus `structure` × the mean squared difference of the batch's two cosine matrices (N, N).

    Embeddings are (N, D), of any length.
    """
    student, teacher = F.normalize(student_embedding), F.normalize(teacher_embedding)
    similarity = F.mse_loss(student @ student.T, teacher @ teacher.T)
    return hidden_loss(student, teacher) + structure * similarity
