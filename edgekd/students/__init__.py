"""Networks for the recipes, one family per file, and the user's own `module:function`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgekd import plugins, user_code
from edgekd.errors import BadInputError, EdgekdError
from edgekd.recipe import Model
from edgekd.students._count import count

__all__ = ["build_model", "check_model", "count", "takes_teacher"]
_FACTS = ("classes", "channels", "input_shape", "teacher")


def build_model(
    model: Model, classes: int, input_shape: tuple[int, ...], *, seed: int = 0, teacher: nn.Module | None = None
) -> nn.Module:
    """The network that a recipe names, with initial weights that only `seed` decides.

    A factory takes the recipe's options and, of `classes`, `channels`, `input_shape` (without the batch) and `teacher`
    (of which a student may be derived), those that its signature names.
    Raises BadInputError for an unknown name or option, and for whatever the user's own code raises.
    """
    factory = _factory(model.model)
    facts = {
        "classes": classes,
        "channels": input_shape[0] if input_shape else 0,
        "input_shape": input_shape,
        "teacher": teacher,
    }
    arguments = _arguments(factory, facts, model.options, model.model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            network = factory(**arguments)
        except EdgekdError:
            raise
        except Exception as error:  # the user's own code: anything may come out of it
            raise BadInputError(f"model {model.model!r}: {plugins.told(error)}") from error
    if not isinstance(network, nn.Module):
        raise BadInputError(f"model {model.model!r} gave a {type(network).__name__}, not a torch.nn.Module")
    return network


def check_model(model: Model) -> None:
    """Raise BadInputError for an unknown name or option; nothing is built."""
    _arguments(_factory(model.model), dict.fromkeys(_FACTS), model.options, model.model)


def takes_teacher(model: Model) -> bool:
    """Whether a model's factory may start from the teacher's weights."""
    parameters = inspect.signature(_factory(model.model)).parameters.values()
    return any(parameter.name == "teacher" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _factory(name: str) -> Callable[..., Any]:
    if ":" in name:
        factory: Callable[..., Any] = user_code.custom(name, "model")
    else:
        factory = plugins.builtin(__name__, name, "model").build
    return factory


def _arguments(
    factory: Callable[..., Any], facts: dict[str, Any], options: dict[str, Any], name: str
) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {fact: value for fact, value in facts.items() if value is not None} | options
    known = [parameter for parameter in parameters if parameter not in facts]
    for option in options:
        if option not in known:
            raise BadInputError(f"model {name!r}: unknown option {option!r}{plugins.nearest(option, known)}")
    return {fact: value for fact, value in facts.items() if fact in parameters} | options
