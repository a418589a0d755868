"""Distillation methods, one per file: a pure loss and the frozen dataclass of its hyper-parameters."""

from collections.abc import Sequence
from typing import Any

from edgekd import parameters
from edgekd.distillation._base import (
    Builds,
    Context,
    Deploys,
    Example,
    Generational,
    Method,
    Output,
    ReadsOutput,
    weight_at,
)
from edgekd.parameters import class_by_name, with_parameters
from edgekd.recipe import Ramp, Weight
from edgekd.tasks import Task

__all__ = [
    "Builds",
    "Context",
    "Deploys",
    "Example",
    "Generational",
    "Method",
    "Output",
    "Ramp",
    "ReadsOutput",
    "Weight",
    "checked",
    "default_methods",
    "load_methods",
    "method_class",
    "weight_at",
]


def load_methods(entries: Sequence[dict[str, Any]]) -> list[Method]:
    """Methods of a recipe's `[[distillation]]` entries; `method` is a file here, or the user's `module:class`.

    Raises BadInputError for an unknown method, an unknown or missing parameter, or a value of the wrong type or range.
    """
    return [_load(**entry) for entry in entries]


def default_methods(task: Task) -> list[Method]:
    """What teaches a task where nothing else is asked for: its own method, once for each output that it reads."""
    names = [{"output": name} for name in task.reads] if isinstance(task.reads, tuple) else [{}]
    return load_methods([{"method": task.method, **name} for name in names])


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
