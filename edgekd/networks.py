"""Networks as users hand them over: what is wrapped around them, where they are, and what of them trains."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
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


def tensors_of(inputs: Inputs) -> list[Tensor]:
    """Return the inputs of a network in their order."""
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values() if isinstance(inputs, Mapping) else inputs)


def named(inputs: Inputs) -> dict[str, Tensor]:
    """Return inputs by name, as files call them: a single tensor is `input`, those in a row `input_0` and so on."""
    if isinstance(inputs, Tensor):
        return {"input": inputs}
    return dict(inputs) if isinstance(inputs, Mapping) else {f"input_{n}": value for n, value in enumerate(inputs)}


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return inputs of the same form, each of them changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return tuple(change(value) for value in inputs)


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Return inputs of the same form on a device."""
    return each(inputs, lambda value: value.to(device))


def parameter_names(model: nn.Module) -> list[str]:
    """Return what a network's forward calls the inputs that it takes in their order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, known in inspect.signature(model.forward).parameters.items() if known.kind in kinds]


def parameter_aliases(model: nn.Module) -> dict[str, list[str]]:
    """Return all names of each parameter, by its first one: modules that are tied have it under a name each."""
    first = {id(value): name for name, value in model.named_parameters()}
    found: dict[str, list[str]] = {name: [] for name in first.values()}
    for name, value in model.named_parameters(remove_duplicate=False):
        found[first[id(value)]].append(name)
    return found


def takes(model: nn.Module) -> tuple[list[str] | None, list[str]]:
    """Return what a network's forward takes by name, None for anything, and which of it cannot be left out."""
    known = inspect.signature(model.forward).parameters.values()
    free = any(one.kind is one.VAR_KEYWORD for one in known)
    named = [one for one in known if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return None if free else [one.name for one in named], [one.name for one in named if one.default is one.empty]


def input_names(model: nn.Module, inputs: Inputs) -> list[str]:
    """Return what the inputs of a network are called in its files: a single tensor `input`, several by its forward."""
    if isinstance(inputs, Tensor):
        return ["input"]
    if isinstance(inputs, Mapping):
        return list(inputs)
    known = parameter_names(model)
    return [known[number] if number < len(known) else f"input_{number}" for number in range(len(inputs))]


def named_outputs(answer: Any) -> dict[str, Tensor]:
    """Return the tensors of what a network returns, by name: those of dictionaries and dataclasses are theirs.

    So are those of a named tuple; a single tensor is `logits`, those of a tuple `logits`, `logits_1` and so on.
    """
    found = list(_leaves(answer, ()))
    if all(isinstance(part, int) for path, _ in found for part in path):
        return {f"logits_{number}" if number else "logits": value for number, (_, value) in enumerate(found)}
    return {"_".join(map(str, path)): value for path, value in found}


def _leaves(answer: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(answer, Tensor):
        yield path, answer
    elif isinstance(answer, Mapping) or hasattr(answer, "_asdict"):
        for name, value in (answer if isinstance(answer, Mapping) else answer._asdict()).items():
            yield from _leaves(value, (*path, str(name)))
    elif isinstance(answer, tuple | list):
        for number, value in enumerate(answer):
            yield from _leaves(value, (*path, number))
    elif is_dataclass(answer) and not isinstance(answer, type):
        for known in fields(answer):
            yield from _leaves(getattr(answer, known.name), (*path, known.name))


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
