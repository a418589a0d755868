"""Distillation methods, one per file: a pure loss and the frozen dataclass of its hyper-parameters."""

from collections.abc import Sequence
from typing import Any

from edgekd import parameters
from edgekd.distillation._base import Builds, Context, Deploys, Example, Generational, Method, Output, weight_at
from edgekd.parameters import class_by_name, with_parameters
from edgekd.recipe import Ramp, Weight

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
    return class_by_name(__name__, method, "distillation method", lambda kind: hasattr(kind, "student_taps"))


def checked(method: Method) -> Method:
    """The same method, its parameters validated as those of a recipe are; raises BadInputError."""
    found: Method = parameters.checked(method)
    return found


def _load(method: str, **given: Any) -> Method:
    loaded: Method = with_parameters(method_class(method), given, f"method {method!r}")
    return loaded
