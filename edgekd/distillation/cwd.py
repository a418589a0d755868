"""Channel-wise distillation for dense outputs (Shu et al., arXiv:2011.13256)."""

from dataclasses import dataclass

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from edgekd.distillation._base import Context, Output
from edgekd.distillation._pairs import Pairs, maps, on_one_grid
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class CWD(Pairs):
    """Look, in every channel, at the positions that the teacher looks at; both layers have the same channels.

    The paper compares the maps of logits (the networks' last layers) with weight 3, features with weight 50.
    """

    temperature: PositiveFloat = 4.0
    weight: Weight = 3.0

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""

        def loss(ours: Tensor, theirs: Tensor) -> Tensor:
            return cwd_loss(ours, theirs, self.temperature)

        return self.mean(loss, student, teacher, maps, context)


def cwd_loss(student_feature: Tensor, teacher_feature: Tensor, temperature: float = 4.0) -> Tensor:
    """T² · KL(teacher ‖ student) of softmax over positions of a channel / T, mean over batch and channels (eq. 4).

    Features are (N, C, …); of two grids the finer is average-pooled to the other. Raises BadInputError where the
    channels differ, or where there are no positions.
    """
    require_channels(student_feature, teacher_feature)
    pair = on_one_grid(student_feature, teacher_feature)
    ours, theirs = (F.log_softmax(feature.flatten(2) / temperature, dim=2) for feature in pair)
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(2).mean() * temperature**2


def require_channels(student_feature: Tensor, teacher_feature: Tensor) -> None:
    """Raise BadInputError unless both features (N, C, …) have the same channels."""
    ours, theirs = student_feature.shape[1], teacher_feature.shape[1]
    if ours != theirs:
        raise BadInputError(
            f"{ours} and {theirs} channels cannot be held against each other one by one: "
            "tap layers that have the same, such as the last ones, or use a hint, which brings them together"
        )
