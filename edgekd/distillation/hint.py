"""Hints from inner layers (FitNets, Romero et al., arXiv:1412.6550)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output
from edgekd.distillation._pairs import Pairs, naming
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class Hint(Pairs):
    """Regress the teacher's features from the student's; `layers` maps student taps to teacher taps."""

    weight: Weight = 1.0

    def build(self, example: Example) -> nn.Module:
        """One regressor per pair of layers."""
        fits = nn.ModuleList()
        for ours, theirs in self.layers.items():
            with naming(ours, theirs):
                fits.append(regressor(example.student.features[ours], example.teacher.features[theirs]))
        return fits

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss, the mean over the pairs."""
        assert isinstance(context.module, nn.ModuleList)
        pairs = zip(context.module, self.layers.items(), strict=True)
        losses = [hint_loss(fit(student.features[ours]), teacher.features[theirs]) for fit, (ours, theirs) in pairs]
        return torch.stack(losses).mean()


def hint_loss(student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared error of two features of the same shape (N, …)."""
    return F.mse_loss(student_feature, teacher_feature)


def regressor(student_feature: Tensor, teacher_feature: Tensor) -> nn.Module:
    """What brings (N, C, …) to the teacher's shape: pooling to its grid, a 1×1 convolution or linear to its channels.

    Raises BadInputError when the two differ in their number of axes.
    """
    ours, theirs = student_feature.shape[1:], teacher_feature.shape[1:]
    if len(ours) != len(theirs):
        raise BadInputError(f"a hint cannot bring a feature of shape {tuple(ours)} to {tuple(theirs)}")
    layers: list[nn.Module] = []
    if ours[1:] != theirs[1:]:
        layers.append(_pooling(tuple(theirs[1:])))
    if ours[0] != theirs[0]:
        layers.append(_projection(ours[0], theirs[0], axes=len(theirs) - 1))
    return nn.Sequential(*layers)


def _pooling(size: tuple[int, ...]) -> nn.Module:
    return nn.AdaptiveAvgPool1d(size[0]) if len(size) == 1 else nn.AdaptiveAvgPool2d((size[0], size[1]))


def _projection(inputs: int, outputs: int, axes: int) -> nn.Module:
    if axes == 0:
        return nn.Linear(inputs, outputs)
    return nn.Conv1d(inputs, outputs, 1) if axes == 1 else nn.Conv2d(inputs, outputs, 1)
