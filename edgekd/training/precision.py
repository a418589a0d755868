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

IMAGES = 4  # axes: samples, channels, height, width
VECTOR = 16  # float32 in the widest vector of a CPU


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
    enabled, order = casts(precision, device), _image_order(model, device)

    def ordered(value: Tensor) -> Tensor:
        return value.contiguous(memory_format=order) if value.ndim == IMAGES else value

    def run(inputs: Inputs) -> dict[str, Tensor]:
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                answer = call(model, each(inputs, ordered))
        except (EdgekdError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the user's own code: anything may come out of it
            shapes = ", ".join(str(tuple(value.shape)) for value in tensors_of(inputs))
            raise NetworkError(f"a network fails on a batch {shapes}: {told(error)}") from error
        return {name: value.float() for name, value in named_outputs(answer).items()}

    return run


def place_model(model: nn.Module, device: torch.device, axes: int) -> None:
    """Move a model, in place, to a device and to the memory order that it takes inputs with so many `axes` in."""
    order = _image_order(model, device) if axes == IMAGES else torch.preserve_format
    model.to(device, memory_format=order)  # type: ignore[call-overload]


def _image_order(model: nn.Module, device: torch.device) -> torch.memory_format:
    """That which convolutions are fastest in, unless one of them would write past a CPU's memory there."""
    spared = device.type == "cpu" and any(map(_overflows, model.modules()))
    return torch.contiguous_format if spared else torch.channels_last


def _overflows(module: nn.Module) -> bool:
    """Whether it is, or may hold, a strided 1×1 convolution of fewer channels than a vector holds.

    oneDNN writes the gradient of such weights past its workspace where channels come last (its issue 6035).
    """
    if isinstance(module, nn.Conv2d):
        strided = module.kernel_size == (1, 1) and max(module.stride) > 1
        return strided and module.in_channels // module.groups < VECTOR
    own = module.parameters(recurse=False)  # of code that calls F.conv2d: how far it strides is not known
    return any(weight.ndim == IMAGES and weight.shape[2:] == (1, 1) and weight.shape[1] < VECTOR for weight in own)
