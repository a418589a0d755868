"""The reused teacher classifier (SimKD, Chen et al., arXiv:2203.14001)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distillation._base import Context, Example, Output
from edgekd.distillation._maps import AXES, convolution, norm
from edgekd.distillation._pairs import Layer
from edgekd.errors import BadInputError
from edgekd.recipe import Weight


@dataclass(frozen=True)
class SimKD:
    """Bring what enters the student's head to what enters the teacher's, and deploy the teacher's head behind it.

    The paper trains with this loss alone: `cross_entropy = 0`. `factor` narrows the projector's middle.
    """

    student_head: Layer = "head"
    teacher_head: Layer = "head"
    factor: PositiveInt = 2
    weight: Weight = 1.0

    @property
    def student_taps(self) -> tuple[str, ...]:
        """What enters the student's head."""
        return (f"{self.student_head}:input",)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """What enters the teacher's head."""
        return (f"{self.teacher_head}:input",)

    def build(self, example: Example) -> nn.Module:
        """The projector and a frozen copy of the teacher's head; raises BadInputError where the two do not fit."""
        ours, theirs = self._features(example.student, example.teacher)
        if ours.ndim != theirs.ndim or ours.ndim not in (2, *AXES):
            raise self._mismatch(ours, theirs, "choose heads that take the same kind of feature")
        head = copy.deepcopy(example.teacher_model.get_submodule(self.teacher_head)).requires_grad_(False)
        reused = ReusedHead(projector(ours, theirs, self.factor), head).to(ours.device)
        try:
            with torch.no_grad():
                reused.eval()(ours)
        except RuntimeError as error:
            raise self._mismatch(ours, theirs, "the teacher's head does not take so small a grid") from error
        return reused.train()

    def __call__(self, student: Output, teacher: Output, context: Context) -> Tensor:
        """Scalar loss."""
        assert isinstance(context.module, ReusedHead)
        ours, theirs = self._features(student, teacher)
        return simkd_loss(context.module[0](ours), theirs)

    def deploy(self, student: nn.Module, module: nn.Module) -> nn.Module:
        """The student with the projector and the teacher's head in the place of its own head."""
        return _with_module(student, self.student_head.split("."), module)

    def _features(self, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        return student.features[self.student_taps[0]], teacher.features[self.teacher_taps[0]]

    def _mismatch(self, ours: Tensor, theirs: Tensor, advice: str) -> BadInputError:
        (student,), (teacher,) = self.student_taps, self.teacher_taps
        shapes = f"{student!r} of shape {tuple(ours.shape[1:])} to {teacher!r} of shape {tuple(theirs.shape[1:])}"
        return BadInputError(f"simkd cannot bring the student's {shapes}: {advice}")


class ReusedHead(nn.Sequential):
    """A projector and behind it the teacher's head, which stays in evaluation mode."""

    def train(self, mode: bool = True) -> Self:
        """Set the projector's mode."""
        super().train(mode)
        self[1].eval()
        return self


def simkd_loss(projected_feature: Tensor, teacher_feature: Tensor) -> Tensor:
    """Mean squared error of features (N, C, …); the teacher's is first average-pooled to the other's grid."""
    grid = projected_feature.shape[2:]
    if teacher_feature.shape[2:] != grid:
        teacher_feature = F.interpolate(teacher_feature, grid, mode="area")
    return F.mse_loss(projected_feature, teacher_feature)


def projector(student_feature: Tensor, teacher_feature: Tensor, factor: int) -> nn.Module:
    """From (N, C, …) to the teacher's channels, on the smaller of both grids.

    Vectors take a linear layer; maps a bottleneck of 1×1, 3×3 and 1×1 convolutions with batch norm and ReLU, `factor`
    times narrower than the teacher. The last ReLU is left out where the teacher's feature goes below zero.
    """
    axes, ours, theirs = student_feature.ndim, student_feature.shape[1], teacher_feature.shape[1]
    if axes == 2:
        return nn.Linear(ours, theirs)
    middle = max(1, theirs // factor)
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((ours, middle, 1), (middle, middle, 3), (middle, theirs, 1)):
        layers += convolution(axes, inputs, outputs, kernel), norm(axes, outputs), nn.ReLU()
    if teacher_feature.min() < 0:
        layers.pop()
    return nn.Sequential(*_pooling(student_feature.shape[2:], teacher_feature.shape[2:]), *layers)


def _pooling(ours: Sequence[int], theirs: Sequence[int]) -> list[nn.Module]:
    """Average pooling to the smaller grid; with a fixed window, which every backend knows, where that divides."""
    grid = [min(pair) for pair in zip(ours, theirs, strict=True)]
    if grid == list(ours):
        return []
    if any(size % target for size, target in zip(ours, grid, strict=True)):
        return [nn.AdaptiveAvgPool1d(grid[0]) if len(grid) == 1 else nn.AdaptiveAvgPool2d((grid[0], grid[1]))]
    window = [size // target for size, target in zip(ours, grid, strict=True)]
    return [nn.AvgPool1d(window[0]) if len(window) == 1 else nn.AvgPool2d((window[0], window[1]))]


def _with_module(network: nn.Module, path: Sequence[str], module: nn.Module) -> nn.Module:
    """A network that shares everything with `network` except the submodule at `path`."""
    name, *rest = path
    twin = copy.copy(network)
    twin._modules = dict(network._modules)
    twin._modules[name] = _with_module(network.get_submodule(name), rest, module) if rest else module
    return twin
