"""Networks for the recipes: one family per file, those of other libraries, and the user's own `module:function`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgekd import model_libraries, plugins, user_code
from edgekd.errors import BadInputError, EdgekdError
from edgekd.recipe import Model
from edgekd.students._count import count

__all__ = ["build_model", "check_model", "code_of", "count", "takes_teacher"]
_FACTS = ("classes", "channels", "input_shape", "teacher")


def build_model(
    model: Model, classes: int, input_shape: tuple[int, ...], *, seed: int = 0, teacher: nn.Module | None = None
) -> nn.Module:
    """The network that a recipe names, with initial weights that only `seed` decides.

    A factory takes the recipe's options and, of `classes`, `channels`, `input_shape` (without the batch) and `teacher`
    (of which a student may be derived), those that its signature names; all, where that is `**anything` alone.
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
    return "teacher" in _wanted(_factory(model.model))


def code_of(model: Model) -> str:
    """The module in which a recipe's network is built; nothing is imported."""
    return model_libraries.code_of(model.model) or plugins.module_of(__name__, model.model)


def _factory(name: str) -> Callable[..., Any]:
    if model_libraries.code_of(name):
        return model_libraries.factory(name)
    if ":" in name:
        own: Callable[..., Any] = user_code.custom(name, "model")
        return own
    build: Callable[..., Any] = plugins.builtin(__name__, name, "model").build
    return build


def _wanted(factory: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(factory).parameters
    return [fact for fact in _FACTS if fact in parameters] or (list(_FACTS) if _takes_anything(factory) else [])


def _takes_anything(factory: Callable[..., Any]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(factory).parameters.values())


def _arguments(
    factory: Callable[..., Any], facts: dict[str, Any], options: dict[str, Any], name: str
) -> dict[str, Any]:
    parameters, wanted = inspect.signature(factory).parameters, _wanted(factory)
    known = [parameter for parameter in parameters if parameter not in facts]
    for option in [] if _takes_anything(factory) else options:
        if option not in known:
            raise BadInputError(f"model {name!r}: unknown option {option!r}{plugins.nearest(option, known)}")
    return {fact: facts[fact] for fact in wanted if fact in parameters or facts[fact] is not None} | options
