"""How large a network is, and how much it multiplies."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.networks import Inputs, call, device_of, evaluating, to_device

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTED = (nn.Linear, *CONVOLUTIONS, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


def count(
    model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None, example: Inputs | None = None
) -> tuple[int, int]:
    """(parameters, multiply-accumulates of one sample with weights; looking up costs none, nor do other products).

    `input_shape` is without the batch, `dtype` that of the inputs, as in `example_input`, unless an `example` of one
    sample is given; the model's mode, weights and statistics are left as they were.
    """
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        nonlocal macs
        macs += _macs(layer, inputs, named, output)

    layers = [layer for layer in model.modules() if isinstance(layer, COUNTED)]
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


def _macs(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> int:
    """What a layer multiplies its weights with."""
    given = [*inputs, *named.values()][0]
    match layer:
        case nn.Linear():
            values, each = output, layer.in_features
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():  # spreads what it is given
            values, each = given, layer.out_channels // layer.groups * math.prod(layer.kernel_size)
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            values, each = output, layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        case nn.MultiheadAttention():  # its projections are functions; that of the output is as large as the query's
            places = {**dict(zip(("query", "key", "value"), inputs, strict=False)), **named}
            query, key, value = (int(places[name].numel()) for name in ("query", "key", "value"))
            return int((2 * query + key + value) * layer.embed_dim)
        case nn.RNNBase() | nn.RNNCellBase():  # a packed sequence has data, too
            weights = sum(weights.numel() for weights in layer.parameters() if weights.ndim == 2)
            return int(given.data.numel()) // layer.input_size * weights
        case _:
            return 0
    return int(values.numel()) * each
