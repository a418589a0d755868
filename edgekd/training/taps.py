"""Taps: what flows through a network's inner modules, read by forward hooks; the network is never edited."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.networks import bare
from edgekd.plugins import nearest

INPUT, OUTPUT = "input", "output"


class Taps:
    """Features by tap name while in use as a context, or until `close`.

    A tap is a module's name for its output, `name:input` for its first input, or a pattern such as `stages.*`, in which
    `*` stands for one level. Of several values it takes the first; `name:output.1` is the second. A module that runs
    several times shows its last run. Features are copies: what follows may work in place. Names are those of the plain
    network under what accelerate or torch.compile wrap around it. A network compiled without taps never calls them:
    tap it from its first call on. Raises BadInputError with the nearest name when nothing matches.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        plain = bare(model) if names else model
        modules = dict(plain.named_modules()) if names else {}
        taps = dict.fromkeys(tap for name in names for tap in _resolve(_parse(name), list(modules)))
        self._features: dict[str, Tensor] = {}
        self._names = [str(tap) for tap in taps]
        self._hooks = [self._attach(tap, modules[tap.module]) for tap in taps]

    @property
    def features(self) -> dict[str, Tensor]:
        """What the last forward pass showed; raises BadInputError for a module that it did not run."""
        for name in self._names:
            if name not in self._features:
                raise BadInputError(
                    f"tap {name!r} saw nothing: the network does not call this module, "
                    "or was compiled before it was tapped (tap it first, or train it uncompiled)"
                )
        return self._features

    def _attach(self, tap: "_Tap", module: nn.Module) -> Any:
        def read_input(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._features[str(tap)] = _copy((*inputs, *named.values()), tap)

        def read_output(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._features[str(tap)] = _copy(output, tap)

        if tap.side == INPUT:
            return module.register_forward_pre_hook(read_input, with_kwargs=True)
        return module.register_forward_hook(read_output)

    def close(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Tap:
    """One place; `suffix` is how the user wrote all but the module."""

    module: str
    suffix: str
    side: str
    index: int

    def __str__(self) -> str:
        return self.module + self.suffix


def _parse(name: str) -> _Tap:
    module, colon, port = name.partition(":")
    side, dot, index = port.partition(".")
    if (colon and side not in (INPUT, OUTPUT)) or (dot and not index.isdecimal()):
        raise BadInputError(f"tap {name!r}: after the colon comes 'input' or 'output', or 'output.1' for the second")
    return _Tap(module, colon + port, side or OUTPUT, int(index or 0))


def _copy(values: object, tap: _Tap) -> Tensor:
    items = tuple(values.values()) if isinstance(values, Mapping) else values
    choices = items if isinstance(items, tuple | list) else (items,)
    value = choices[tap.index] if tap.index < len(choices) else None
    if not isinstance(value, Tensor):
        raise BadInputError(f"tap {str(tap)!r} carries {_described(items)}, no tensor: tap a module inside it")
    with torch._C.DisableTorchFunction():  # a network that is watched must not take this for a call of its own
        return value.clone()


def _described(values: object) -> str:
    return f"({', '.join(map(_described, values))})" if isinstance(values, tuple | list) else type(values).__name__


def _resolve(tap: _Tap, modules: list[str]) -> list[_Tap]:
    found = [name for name in modules if name and _matches(name, tap.module)]
    if not found:
        raise BadInputError(
            f"the model has no module {tap.module!r} to tap{nearest(tap.module, filter(None, modules))}"
        )
    return [_Tap(name, tap.suffix, tap.side, tap.index) for name in found]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
