"""How large a network is, and how much it multiplies."""

import math

import torch
from torch import Tensor, nn

from edgekd.networks import Inputs, call, device_of, evaluating, to_device


def count(
    model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None, example: Inputs | None = None
) -> tuple[int, int]:
    """(parameters, multiply-accumulates of one sample in convolutions and linear layers; looking up costs none).

    `input_shape` is without the batch, `dtype` that of the inputs, as in `example_input`, unless an `example` of one
    sample is given; the model's mode, weights and statistics are left as they were.
    """
    macs = 0

    def add(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * _macs_per_value(layer)

    hooks = [layer.register_forward_hook(add) for layer in model.modules() if _macs_per_value(layer)]
    try:
        with evaluating(model), torch.no_grad():
            given = example_input(model, input_shape, dtype) if example is None else example
            call(model, to_device(given, device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(parameter.numel() for parameter in model.parameters()), macs


def example_input(model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A batch of one, on the model's device: ones for integers (0 is padding), else zeros.

    Without a `dtype`, a sequence (L,) into a model with an embedding is int64 tokens; all else is of the weights' type.
    """
    parameter = next(model.parameters(), torch.empty(0))
    if dtype is None:
        embeds = any(isinstance(module, nn.Embedding) for module in model.modules())
        dtype = torch.int64 if embeds and len(input_shape) == 1 else parameter.dtype
    fill = 0 if dtype.is_floating_point else 1
    return torch.full((1, *input_shape), fill, device=parameter.device, dtype=dtype)


def _macs_per_value(layer: nn.Module) -> int:
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
