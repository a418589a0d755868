"""How large a network is, and how much it multiplies."""

import math

import torch
from torch import Tensor, nn

from edgekd.networks import Inputs, call, device_of, evaluating, to_device

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def count(
    model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None, example: Inputs | None = None
) -> tuple[int, int]:
    """(parameters, multiply-accumulates of one sample in convolutions and linear layers; looking up costs none).

    `input_shape` is without the batch, `dtype` that of the inputs, as in `example_input`, unless an `example` of one
    sample is given; the model's mode, weights and statistics are left as they were.
    """
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        nonlocal macs
        counted = [*inputs, *named.values()][0] if isinstance(layer, TRANSPOSED) else output
        macs += counted.numel() * _macs_per_value(layer)

    layers = [layer for layer in model.modules() if _macs_per_value(layer)]
    hooks = [layer.register_forward_hook(add, with_kwargs=True) for layer in layers]
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
    """Of each value that comes out; of a transposed convolution, which spreads what it is given, that goes in."""
    if isinstance(layer, TRANSPOSED):
        return layer.out_channels // layer.groups * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return layer.in_features if isinstance(layer, nn.Linear) else 0
