"""Layers for features (N, C, L) and (N, C, H, W), which methods that project or fuse such features share."""

from torch import nn

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d]] = {3: nn.Conv1d, 4: nn.Conv2d}
_NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d}

AXES = tuple(_CONVOLUTIONS)


def convolution(axes: int, inputs: int, outputs: int, kernel: int, bias: bool = False) -> nn.Conv1d | nn.Conv2d:
    """A convolution that keeps the grid of a feature with so many `axes`."""
    return _CONVOLUTIONS[axes](inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def norm(axes: int, channels: int) -> nn.Module:
    """Batch norm of a feature with so many `axes`."""
    return _NORMS[axes](channels)
