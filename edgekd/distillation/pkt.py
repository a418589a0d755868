"""Probabilistic knowledge transfer (Passalis and Tefas, arXiv:1803.10837)."""

from dataclasses import dataclass

from torch import Tensor

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, embeddings, unit
from edgekd.recipe import Weight

# Two opposite embeddings have probability 0; this keeps its logarithm finite.
FLOOR = 1e-7


@dataclass(frozen=True)
class PKT(Pairs):
    """Keep each sample's chances of having the others for neighbours; feature maps are averaged over their positions.

    The default weight is the literature's for this reduction; the paper itself trains with nothing else.
    """

    weight: Weight = 30000.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        return self.mean(pkt_loss, student, teacher, embeddings, context)


def pkt_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Mean over N² of p · log(p / q): p the teacher's, q the student's (1 + cosine) / 2 with rows that sum to 1.

    Embeddings are (N, D), of any D.
    """
    q, p = _neighbours(student_embedding), _neighbours(teacher_embedding)
    return (p * ((p + FLOOR) / (q + FLOOR)).log()).mean()


def _neighbours(embedding: Tensor) -> Tensor:
    directions = unit(embedding, dim=1)
    chances = (1 + directions @ directions.T) / 2
    return chances / chances.sum(1, keepdim=True)
