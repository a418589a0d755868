"""Distillation methods, one per file: a pure loss and the frozen dataclass of its hyper-parameters."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgekd import plugins, user_code
from edgekd.distillation._base import Builds, Context, Deploys, Example, Generational, Method, Output, weight_at
from edgekd.errors import BadInputError
from edgekd.recipe import Ramp, Weight
from edgekd.schema import refuse_not_finite

__all__ = [
    "Builds",
    "Context",
    "Deploys",
    "Example",
    "Generational",
    "Method",
    "Output",
    "Ramp",
    "Weight",
    "checked",
    "load_methods",
    "method_class",
    "weight_at",
]


def load_methods(entries: Sequence[dict[str, Any]]) -> list[Method]:
    """Methods of a recipe's `[[distillation]]` entries; `method` is a file here, or the user's `module:class`.

    Raises BadInputError for an unknown method, an unknown or missing parameter, or a value of the wrong type or range.
    """
    return [_load(**entry) for entry in entries]


def method_class(method: str) -> type[Any]:
    """The dataclass of a method by the name of its file here, or the user's `module:class`; raise BadInputError."""
    if ":" not in method:
        return _dataclass_of(method)
    kind: Any = user_code.custom(method, "distillation method")
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise BadInputError(f"method {method!r} is not a dataclass of hyper-parameters")
    return kind


def checked(method: Method) -> Method:
    """The same method, its parameters validated as those of a recipe are; raises BadInputError."""
    kind: Any = type(method)
    if not is_dataclass(method):
        raise BadInputError(f"{kind.__name__} is not a dataclass of hyper-parameters")
    return _validated(kind, {parameter.name: getattr(method, parameter.name) for parameter in fields(method)})


def _load(method: str, **parameters: Any) -> Method:
    kind: Any = method_class(method)
    known = [parameter.name for parameter in fields(kind)]
    for name in parameters:
        if name not in known:
            raise BadInputError(f"method {method!r}: unknown parameter {name!r}{plugins.nearest(name, known)}")
    return _validated(kind, parameters, method)


def _validated(kind: type[Any], parameters: dict[str, Any], method: str | None = None) -> Method:
    source = f"method {method or kind.__name__!r}"
    refuse_not_finite(parameters, source)
    try:
        loaded: Method = TypeAdapter[Any](kind).validate_python(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{source}: {where}: {first['msg']}") from error
    return loaded


def _dataclass_of(method: str) -> type[Any]:
    module = plugins.builtin(__name__, method, "distillation method")
    own = (kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__)
    return next(kind for kind in own if is_dataclass(kind) and hasattr(kind, "student_taps"))
