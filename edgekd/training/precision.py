"""In which arithmetic networks run while they learn."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from edgekd.errors import EdgekdError, NetworkError
from edgekd.networks import Inputs, call, each, named_outputs, tensors_of
from edgekd.plugins import told

Precision = Literal["auto", "float32", "bf16"]
Run = Callable[[Inputs], dict[str, Tensor]]


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def casts(precision: Precision, device: torch.device) -> bool:
    """Whether networks run in bfloat16 (weights stay float32)."""
    return precision == "bf16" or (precision == "auto" and native_bf16(device))


def runner(model: nn.Module, precision: Precision, device: torch.device) -> Run:
    """The model as a function from inputs to float32 outputs by name, run in `precision`; NetworkError if it fails."""
    enabled = casts(precision, device)

    def run(inputs: Inputs) -> dict[str, Tensor]:
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                answer = call(model, inputs)
        except (EdgekdError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the user's own code: anything may come out of it
            shapes = ", ".join(str(tuple(value.shape)) for value in tensors_of(inputs))
            raise NetworkError(f"a network fails on a batch {shapes}: {told(error)}") from error
        return {name: value.float() for name, value in named_outputs(answer).items()}

    return run


def place(inputs: Inputs, device: torch.device) -> Inputs:
    """Inputs on the device, images in the order that its convolutions are fastest in."""
    return each(inputs, lambda value: value.to(device, memory_format=_memory_format(value.ndim)))


def place_model(model: nn.Module, device: torch.device, axes: int) -> None:
    """Move a model, in place, to a device and to the memory order of inputs with so many `axes`."""
    model.to(device, memory_format=_memory_format(axes))  # type: ignore[call-overload]


def _memory_format(axes: int) -> torch.memory_format:
    return torch.channels_last if axes == 4 else torch.preserve_format
