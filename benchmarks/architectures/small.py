"""Small networks: MLPerf Tiny's keyword spotter and autoencoder, a ConvNeXt, grouped and dilated convolutions."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class KeywordSpotter(nn.Module):
    """DS-CNN on 49×10 cepstra (Zhang et al., arXiv:1711.07128): a 10×4 stem, four separable blocks of 64 channels."""

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        stem = nn.Conv2d(1, 64, (10, 4), 2, bias=False)
        self.stem = nn.Sequential(nn.ZeroPad2d((1, 1, 4, 5)), stem, nn.BatchNorm2d(64), nn.ReLU())
        self.blocks = nn.Sequential(
            *(layer for _ in range(4) for layer in (conv(64, 64, 3, groups=64), conv(64, 64, 1)))
        )
        self.pool, self.fc = nn.AvgPool2d((25, 5)), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 49, 10) to logits (N, classes)."""
        logits: Tensor = self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits


class Autoencoder(nn.Module):
    """Nine dense layers around a bottleneck of 8 (MLPerf Tiny's anomaly detection)."""

    def __init__(self, width: int = 640) -> None:
        super().__init__()
        sizes = [width, 128, 128, 128, 128, 8, 128, 128, 128, 128]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(128, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 640), same."""
        result: Tensor = self.fc(self.layers(x))
        return result


class ConvNeXtBlock(nn.Module):
    """7×7 depthwise, then a feed-forward network on the channels (Liu et al., arXiv:2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand, self.act, self.project = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W), same."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.project(self.act(self.expand(y)))
        result: Tensor = x + y.permute(0, 3, 1, 2)
        return result


class ConvNeXt(nn.Module):
    """A patch stem, two blocks, a linear classifier."""

    def __init__(self, classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(ConvNeXtBlock(width), ConvNeXtBlock(width))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, classes)."""
        logits: Tensor = self.fc(self.norm(self.blocks(self.stem(x)).mean((2, 3))))
        return logits


class GroupedDilated(nn.Module):
    """Convolutions in four groups, and three of growing dilation whose sum is classified."""

    def __init__(self, classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.grouped = conv(width, width, 3, groups=4)
        self.branches = nn.ModuleList(conv(width, width, 3, dilation=rate) for rate in (1, 2, 4))
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, classes)."""
        x = self.grouped(self.stem(x))
        total = self.branches[0](x) + self.branches[1](x) + self.branches[2](x)
        logits: Tensor = self.fc(self.pool(total).flatten(1))
        return logits
