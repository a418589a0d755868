"""How large a network is, and how much it multiplies."""

import math

import torch
from torch import Tensor, nn


def count(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(parameters, multiply-accumulates of one sample in convolutions and linear layers).

    `input_shape` is without the batch; the model's mode, weights and statistics are left as they were.
    """
    macs = 0

    def add(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * _macs_per_value(layer)

    hooks = [layer.register_forward_hook(add) for layer in model.modules() if _macs_per_value(layer)]
    training = {module: module.training for module in model.modules()}
    parameter = next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return sum(parameter.numel() for parameter in model.parameters()), macs


def _macs_per_value(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
