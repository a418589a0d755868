"""Taps: what flows through a network's inner modules, read by forward hooks; the network is never edited."""

import fnmatch
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, fx, nn

from edgekd.errors import BadInputError
from edgekd.plugins import nearest

INPUT = ":input"


class Taps:
    """Features by tap name while in use as a context, or until `close`.

    A tap is a module's name for its output, `name:input` for its first input, or a pattern such as `stages.*`, in which
    `*` stands for one level. A module that runs several times shows its last run. Features are copies: what follows
    may work in place. Raises BadInputError with the nearest name when nothing matches.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.features: dict[str, Tensor] = {}
        modules = dict(model.named_modules())
        taps = [tap for name in names for tap in _resolve(name, list(modules))]
        self._hooks = [self._attach(tap, _runs(model, modules, tap)) for tap in dict.fromkeys(taps)]

    def _attach(self, tap: str, module: nn.Module) -> Any:
        def read_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.features[tap] = _copy(inputs[0], tap)

        def read_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            self.features[tap] = _copy(output, tap)

        if tap.endswith(INPUT):
            return module.register_forward_pre_hook(read_input)
        return module.register_forward_hook(read_output)

    def close(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy(feature: object, tap: str) -> Tensor:
    if not isinstance(feature, Tensor):
        raise BadInputError(f"tap {tap!r} carries a {type(feature).__name__}, not a tensor: tap a module inside it")
    return feature.clone()


def _resolve(tap: str, modules: list[str]) -> list[str]:
    pattern, suffix = tap.removesuffix(INPUT), INPUT if tap.endswith(INPUT) else ""
    found = [name for name in modules if name and _matches(name, pattern)]
    if not found:
        raise BadInputError(f"the model has no module {pattern!r} to tap{nearest(pattern, filter(None, modules))}")
    return [name + suffix for name in found]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _runs(model: nn.Module, modules: dict[str, nn.Module], tap: str) -> nn.Module:
    """The module to hook: in a traced graph containers never run, but their first and last inner module do."""
    name = tap.removesuffix(INPUT)
    if not isinstance(model, fx.GraphModule):
        return modules[name]
    calls = [str(node.target) for node in model.graph.nodes if node.op == "call_module"]
    inside = [call for call in calls if call == name or call.startswith(f"{name}.")]
    if not inside:
        raise BadInputError(f"module {name!r} does not run in the traced graph and cannot be tapped")
    return modules[inside[0 if tap.endswith(INPUT) else -1]]
