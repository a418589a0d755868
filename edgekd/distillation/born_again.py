"""Born-again networks (Furlanello et al., arXiv:1805.04770)."""

from dataclasses import dataclass

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from edgekd.distillation._base import Context, Output, ReadsOutput
from edgekd.distillation.kd import kd_loss
from edgekd.recipe import Weight


@dataclass(frozen=True)
class BornAgain(ReadsOutput):
    """Teach over several generations by soft labels.

    The recipe's teacher teaches the first; each later one starts from fresh weights, is taught by the one before, and
    the last is what remains.
    """

    generations: PositiveInt = 2
    temperature: PositiveFloat = 1.0
    weight: Weight = 1.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, within one generation."""
        return born_again_loss(context.rows(student.logits), context.rows(teacher.logits), self.temperature)


def born_again_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(teacher ‖ student) of softmax(logits / T), mean over the batch; logits are (N, C).

    At T = 1 its gradient is that of the paper's cross-entropy with the teacher's probabilities (eq. 5).
    """
    return kd_loss(student_logits, teacher_logits, temperature)
