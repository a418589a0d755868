"""Knowledge review (Chen et al., arXiv:2104.09044)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output
from edgekd.distillation._maps import AXES, convolution, norm
from edgekd.distillation._pairs import Pairs
from edgekd.errors import BadInputError
from edgekd.recipe import Weight

WIDEST = 512


@dataclass(frozen=True)
class Review(Pairs):
    """Match each layer of the teacher by the student's layer of that depth and all deeper ones, fused by attention.

    `layers` maps student taps to teacher taps, shallow to deep. Features are fused at `mid_channels`, by default as
    many as the deepest student layer has, at most 512.
    """

    mid_channels: PositiveInt | None = None
    weight: Weight = 1.0

    def build(self, example: Example) -> nn.Module:
        """One fusion per pair of layers; raises BadInputError where a layer is no map of channels."""
        pairs = []
        for ours, theirs in self.layers.items():
            student, teacher = example.student.features[ours], example.teacher.features[theirs]
            if student.ndim not in AXES or student.ndim != teacher.ndim:
                shapes = f"{ours!r} of shape {tuple(student.shape[1:])}, {theirs!r} of {tuple(teacher.shape[1:])}"
                raise BadInputError(f"review needs maps of channels on both sides, not {shapes}: tap before pooling")
            pairs.append((student, teacher))
        middle = self.mid_channels or min(WIDEST, pairs[-1][0].shape[1])
        return ReviewPath(pairs, middle)

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        assert isinstance(context.module, ReviewPath)
        theirs = [teacher.features[tap] for tap in self.teacher_taps]
        ours = [student.features[tap] for tap in self.student_taps]
        return review_loss(context.module(ours, [feature.shape[2:] for feature in theirs]), theirs)


class ReviewPath(nn.Module):
    """Fusions of the student's layers, run from the deepest to the shallowest."""

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]], middle: int) -> None:
        super().__init__()
        last = len(pairs) - 1
        self.fusions = nn.ModuleList(
            Fusion(ours, theirs, middle, deepest=number == last) for number, (ours, theirs) in enumerate(pairs)
        )

    def forward(self, features: Sequence[Tensor], grids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Student features (N, C, …), shallow to deep, to the teacher's channels and `grids`, in the same order."""
        deeper: Tensor | None = None
        projected: list[Tensor] = []
        for fusion, feature, grid in reversed(list(zip(self.fusions, features, grids, strict=True))):
            deeper, output = fusion(feature, deeper, grid)
            projected.append(output)
        return projected[::-1]


class Fusion(nn.Module):
    """Attention-based fusion: a layer and what comes from the deeper ones, each weighted by a map of attention."""

    def __init__(self, ours: Tensor, theirs: Tensor, middle: int, deepest: bool) -> None:
        super().__init__()
        axes, inputs, outputs = ours.ndim, ours.shape[1], theirs.shape[1]
        self.reduce = _normalised(axes, inputs, middle, 1)
        self.attend = None if deepest else nn.Sequential(convolution(axes, 2 * middle, 2, 1, bias=True), nn.Sigmoid())
        self.project = _normalised(axes, middle, outputs, 3)

    def forward(self, feature: Tensor, deeper: Tensor | None, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(what the next shallower layer gets, the projection on the teacher's `grid`)."""
        fused: Tensor = self.reduce(feature)
        if self.attend is not None and deeper is not None:
            deeper = _resize(deeper, fused.shape[2:])
            own, other = self.attend(torch.cat((fused, deeper), 1)).split(1, 1)
            fused = own * fused + other * deeper
        return fused, self.project(_resize(fused, grid))


def review_loss(student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]) -> Tensor:
    """Hierarchical context loss of features (N, C, …) of the teacher's shapes, summed over the stages.

    A stage's is the mean squared error of the maps, plus ½, ¼ and ⅛ of that of the maps averaged to 4, 2 and 1 cells a
    side, divided by the sum of the weights; a pooling that is no smaller than the map is left out.
    """
    stages = [_hierarchical(ours, theirs) for ours, theirs in zip(student_features, teacher_features, strict=True)]
    return torch.stack(stages).sum()


def _hierarchical(ours: Tensor, theirs: Tensor) -> Tensor:
    if ours.shape != theirs.shape:
        shapes = f"{tuple(ours.shape[1:])} and {tuple(theirs.shape[1:])}"
        raise BadInputError(f"review compares features of one shape, not {shapes}: project them first")
    difference, grid = ours - theirs, ours.shape[2:]
    loss, weight, total = difference.square().mean(), 1.0, 1.0
    for cells in (size for size in (4, 2, 1) if size < min(grid)):
        weight /= 2
        # Pooling is linear: the difference of two averages is the average of the differences.
        loss = loss + weight * F.interpolate(difference, [cells] * len(grid), mode="area").square().mean()
        total += weight
    return loss / total


def _normalised(axes: int, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    layer = convolution(axes, inputs, outputs, kernel)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    return nn.Sequential(layer, norm(axes, outputs))


def _resize(feature: Tensor, grid: Sequence[int]) -> Tensor:
    return feature if feature.shape[2:] == tuple(grid) else F.interpolate(feature, tuple(grid), mode="nearest")
