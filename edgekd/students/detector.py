"""A plain convolutional detector with one centre head at stride 8, as `edgekd.tasks.detection` reads it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.students._layers import conv_bn, initialise

RARE = 0.01  # how likely a centre is in a cell before anything is learned (Lin et al., arXiv:1708.02002)
USUAL = (2.0, 2.0, 0.5, 0.5)  # a box of two cells in the middle of its own
EDGES = len(USUAL)


class Detector(nn.Module):
    """Four halvings; what the coarsest sees is brought back to cells of 8 pixels, where the head looks.

    Scores and boxes come from convolutions of their own, so that each is quantised by its own range.
    """

    def __init__(self, outputs: int, channels: int, width: int, depth: int) -> None:
        super().__init__()
        fine, coarse = 4 * width, 8 * width
        self.stem = conv_bn(channels, width, stride=2, activation=nn.ReLU)
        self.quarter = _stage(width, 2 * width, depth)
        self.eighth = _stage(2 * width, fine, depth)
        self.sixteenth = _stage(fine, coarse, depth)
        self.lateral = conv_bn(coarse, fine, 1, activation=nn.ReLU)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.neck = conv_bn(2 * fine, fine, activation=nn.ReLU)
        initialise(self)
        self.heat, self.box = _head(fine, [math.log(RARE / (1 - RARE))] * (outputs - EDGES)), _head(fine, USUAL)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W), where 16 divides H and W, to (N, classes + 4, H / 8, W / 8)."""
        eighth = self.eighth(self.quarter(self.stem(x)))
        context = self.grow(self.lateral(self.sixteenth(eighth)))
        seen = self.neck(torch.cat([eighth, context], dim=1))
        return torch.cat([self.heat(seen), self.box(seen)], dim=1)


def build(classes: int, channels: int, width: int = 8, depth: int = 1) -> nn.Module:
    """Detector whose first layer has `width` channels, with `depth` convolutions a stage behind its halving.

    `classes` is what a cell has: a score for each class and four numbers for the box. Raises BadInputError below 5.
    """
    if classes <= EDGES:
        raise BadInputError(f"a cell has {classes} values, but needs a class and the {EDGES} numbers of a box")
    return Detector(classes, channels, width, depth)


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    layers = [conv_bn(inputs, outputs, stride=2, activation=nn.ReLU)]
    return nn.Sequential(*layers, *(conv_bn(outputs, outputs, activation=nn.ReLU) for _ in range(depth)))


def _head(inputs: int, start: Sequence[float]) -> nn.Conv2d:
    """A value in each cell for each of `start`, which it is at first almost everywhere."""
    head = nn.Conv2d(inputs, len(start), 1)
    nn.init.normal_(head.weight, std=0.01)
    head.bias = nn.Parameter(torch.tensor(start))
    return head
