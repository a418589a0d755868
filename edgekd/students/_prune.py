"""Fewer channels with the teacher's weights: structured pruning (Fang et al., arXiv:2301.12900)."""

import copy
import fnmatch
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError, MissingExtraError
from edgekd.plugins import nearest

Prunable = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def prune(model: nn.Module, example: Tensor, ratio: float | Mapping[str, float]) -> nn.Module:
    """A copy without the `ratio` of each layer's output channels whose weights, wherever they are read, are smallest.

    A number prunes every convolution and linear layer but those that make the output, and so is a width multiplier
    of 1 - ratio; a mapping prunes the layers that its globs name (`*` is one level): of a transformer, name the
    feed-forward ones, for attention heads are not told apart. `example` is a batch of inputs.
    Raises MissingExtraError without torch-pruning, BadInputError for a pattern that names nothing or a network that
    cannot be followed.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtraError("prune") from error
    derived = copy.deepcopy(model).eval().requires_grad_()
    uniform = 0.0 if isinstance(ratio, Mapping) else ratio
    ratios = _by_layer(derived, ratio) if isinstance(ratio, Mapping) else {}
    with torch.enable_grad():
        try:
            torch_pruning.BasePruner(
                derived, example, torch_pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=uniform, pruning_ratio_dict=ratios, ignored_layers=[_last_layer(derived, example)],
            ).step()  # fmt: skip
        except (RuntimeError, IndexError, KeyError, ValueError, AssertionError) as error:
            raise BadInputError(f"prune: torch-pruning cannot follow {type(model).__name__}: {error}") from error
    for name, parameter in derived.named_parameters():
        parameter.requires_grad_(model.get_parameter(name).requires_grad)
    return derived.train(model.training)


def _by_layer(model: nn.Module, ratios: Mapping[str, float]) -> dict[nn.Module, float]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Prunable)}
    chosen: dict[nn.Module, float] = {}
    for pattern, ratio in ratios.items():
        found = [layer for name, layer in layers.items() if _matches(name, pattern)]
        if not found:
            raise BadInputError(f"prune: {pattern!r} names no convolution or linear layer{nearest(pattern, layers)}")
        chosen |= dict.fromkeys(found, ratio)
    return chosen


def _matches(name: str, pattern: str) -> bool:
    return name.count(".") == pattern.count(".") and fnmatch.fnmatchcase(name, pattern)


def _last_layer(model: nn.Module, example: Tensor) -> nn.Module:
    """The layer that runs last: its channels, and all that are added to them, are the network's answer."""
    ran: list[nn.Module] = []

    def note(layer: nn.Module, _: tuple[Tensor, ...], __: Tensor) -> None:
        ran.append(layer)

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, Prunable)]
    try:
        model(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise BadInputError("prune: the network has no convolution or linear layer")
    return ran[-1]
