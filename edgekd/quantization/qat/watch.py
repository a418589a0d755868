"""A network run as it is, while every call that it makes of torch is seen: whose weight it takes, what it returns.

A call is known by a key that is the same in every pass, in training and in evaluation: the module whose forward makes
it, which run of that module it is, and which call of that function in there, as in `stages.0#1:relu.2`.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from edgekd.networks import parameter_names

CHANNEL_AXIS: dict[Callable[..., Any], int] = {
    F.conv1d: 0,
    F.conv2d: 0,
    F.linear: 0,
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 1,
}
"""The functions whose second argument is a weight, and where that has its output channels."""


class Calls:
    """The modules that run at this moment, and how often each has run and called each function so far."""

    def __init__(self) -> None:
        self.running: list[tuple[str, Counter[str]]] = []
        self._runs: Counter[str] = Counter()

    def begin(self) -> None:
        """Start a pass."""
        self.running, self._runs = [("", Counter())], Counter()

    def end(self) -> None:
        """End a pass: modules that are called by themselves are not watched."""
        self.running = []

    def enter(self, path: str) -> None:
        """A module's forward begins."""
        self._runs[path] += 1
        self.running.append((f"{path}#{self._runs[path]}", Counter()))

    def leave(self) -> None:
        """The forward of the module that was last to begin ends."""
        self.running.pop()

    def key(self, function: str) -> str:
        """Count a call, and name it."""
        module, counts = self.running[-1]
        counts[function] += 1
        return f"{module}:{function}.{counts[function]}"


class Watched(nn.Module):
    """A network whose forward is watched; its own children, parameters and buffers are this module's, by their names.

    `network` is the network itself and no child: a Sequential would run what stands beside its layers.
    """

    network: nn.Module
    calls: Calls

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        shared = ("_parameters", "_buffers", "_non_persistent_buffers_set")
        vars(self).update({name: vars(network)[name] for name in shared}, network=network, calls=Calls())
        self._modules.update(network._modules)
        self._parameter_names = parameter_names(network)
        for path, module in network.named_modules():
            if path:
                module.register_forward_pre_hook(partial(_enter, self.calls, path))
                module.register_forward_hook(partial(_leave, self.calls), always_call=True)

    @property
    def training(self) -> bool:
        """The network's own mode."""
        return self.network.training

    @training.setter
    def training(self, mode: bool) -> None:
        if "network" in vars(self):
            self.network.training = mode

    def value(self, key: str, x: Tensor) -> Tensor:
        """What goes on instead of a call's result, or of an input."""
        raise NotImplementedError

    def weight(self, name: str | None, weight: Tensor, axis: int) -> Tensor:
        """What a layer computes with instead of its weight: a parameter by its name, else None."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Watched":
        """Set the mode as the network's own `train` does."""
        super().train(mode)
        self.network.train(mode)
        return self

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """As the network's own."""
        self.calls.begin()
        try:
            known = zip_longest(inputs, self._parameter_names[: len(inputs)], fillvalue="more")
            inputs = tuple(self._input(name, value) for value, name in known)
            named = {name: self._input(name, value) for name, value in named.items()}
            with _Watch(self):
                return self.network(*inputs, **named)
        finally:
            self.calls.end()

    def _input(self, name: str, value: Any) -> Any:
        """An input, known by its parameter's name, whether it is given by name or by position."""
        return self.value(self.calls.key(f"input {name}"), value) if isinstance(value, Tensor) else value


class _Watch(TorchFunctionMode):
    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched
        self._names = {id(value): name for name, value in watched.named_parameters()}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.silu:
            with self:
                return _spelled_out_silu(*args, **kwargs)
        with _kept():
            return self._call(func, args, kwargs)

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in CHANNEL_AXIS:
            args, kwargs = self._with_weight(CHANNEL_AXIS[func], args, kwargs)
        result = func(*args, **kwargs)
        return result if func.__name__ == "__get__" else self._result(func.__name__, result)

    def _with_weight(
        self, axis: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = args[1] if len(args) > 1 else kwargs["weight"]
        weight = self._watched.weight(self._names.get(id(given)), given, axis)
        return ((args[0], weight, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "weight": weight})

    def _result(self, function: str, result: Any) -> Any:
        if isinstance(result, Tensor):
            return self._watched.value(self._watched.calls.key(function), result)
        if not isinstance(result, (tuple, list)) or not any(isinstance(part, Tensor) for part in result):
            return result
        key = self._watched.calls.key(function)
        return type(result)(
            [
                self._watched.value(f"{key}[{index}]", part) if isinstance(part, Tensor) else part
                for index, part in enumerate(result)
            ]
        )


def _kept() -> AbstractContextManager[None]:
    """Keep what checkpointed gradients would compute again in the backward pass, where nothing is watched."""
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is None:
        return nullcontext()
    return saved_tensors_hooks(_itself, _itself)


def _itself(x: Any) -> Any:
    return x


def _spelled_out_silu(x: Tensor, inplace: bool = False) -> Tensor:
    """SiLU as x · sigmoid(x), which is how it is computed in integers."""
    return x * torch.sigmoid(x)


# Bound to what they count with, and no closures: a copy of the network has hooks that count with a copy of it.
def _enter(calls: Calls, path: str, *_: object) -> None:
    if calls.running:
        calls.enter(path)


def _leave(calls: Calls, *_: object) -> None:
    if calls.running:
        calls.leave()
