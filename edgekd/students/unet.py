"""U-Net (Ronneberger et al., arXiv:1505.04597) with batch norm: logits for each pixel of small images."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgekd.students._layers import conv_bn, initialise


class UNet(nn.Module):
    """Levels that halve the image and double the width, and the way back, where each level meets its skip."""

    def __init__(self, classes: int, channels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.encode = nn.ModuleList(_level(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.decode = nn.ModuleList(_level(a + b, a) for a, b in pairwise(widths))
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(width, classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W), where 2^depth divides H and W, to logits (N, classes, H, W)."""
        skips: list[Tensor] = []
        for level in self.encode:
            x = level(self.pool(x) if skips else x)
            skips.append(x)
        for level, skip in zip(reversed(self.decode), reversed(skips[:-1]), strict=True):
            x = level(torch.cat([skip, self.grow(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def build(classes: int, channels: int, width: int = 8, depth: int = 3) -> nn.Module:
    """U-Net of `depth` halvings whose first level has `width` channels."""
    return UNet(classes, channels, width, depth)


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, outputs, activation=nn.ReLU), conv_bn(outputs, outputs, activation=nn.ReLU))
