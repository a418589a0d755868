"""Networks as users hand them over: what is wrapped around them, where they are, and what of them trains."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What a network takes: a tensor, several in their order, or several by the names of its parameters."""


def bare(model: nn.Module) -> nn.Module:
    """Return the network under DataParallel, DistributedDataParallel, torch.compile and accelerate."""
    if not (hasattr(model, "module") or hasattr(model, "_orig_mod")):
        return model  # nothing is around it: to make sure, accelerate would import torch's compiler, a second
    plain: nn.Module = extract_model_from_parallel(model, keep_torch_compile=False)
    return plain


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's first parameter or buffer; the CPU where it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Return what a network makes of its inputs."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


def first_tensor(inputs: Inputs) -> Tensor:
    """Return the only input of a network, or the first of several."""
    if isinstance(inputs, Tensor):
        return inputs
    return next(iter(inputs.values() if isinstance(inputs, Mapping) else inputs))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode, then give every module back the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def at_rest(model: nn.Module) -> list[nn.Module]:
    """Return the modules that were put to evaluation one by one, in a network that is training."""
    return [module for module in model.modules() if not module.training] if model.training else []


def train_but(model: nn.Module, resting: list[nn.Module]) -> None:
    """Put a network into training mode, by its own `train`, but for modules that stay in evaluation."""
    model.train()
    for module in resting:
        module.training = False
