"""Frozen dataclasses of parameters by the name of their file, or the user's own by `module:class`."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgekd import plugins, user_code
from edgekd.errors import BadInputError
from edgekd.schema import refuse_not_finite


def class_by_name(package: str, reference: str, kind: str, suits: Callable[[type[Any]], bool]) -> type[Any]:
    """Return the one dataclass that `suits` in the package's file of that name, or the user's `module:class`.

    Raises BadInputError for an unknown name, and for what is no dataclass.
    """
    if ":" in reference:
        found: Any = user_code.custom(reference, kind)
        if not (isinstance(found, type) and is_dataclass(found)):
            raise BadInputError(f"{kind.split()[-1]} {reference!r} is not a dataclass of hyper-parameters")
        return found
    module = plugins.builtin(package, reference, kind)
    own = (found for found in vars(module).values() if isinstance(found, type) and found.__module__ == module.__name__)
    return next(found for found in own if is_dataclass(found) and suits(found))


def with_parameters(kind: type[Any], parameters: Mapping[str, Any], source: str) -> Any:
    """Return a `kind` with these parameters; BadInputError, naming the source, for a name, type or range of one."""
    known = [parameter.name for parameter in fields(kind)]
    for name in parameters:
        if name not in known:
            raise BadInputError(f"{source}: unknown parameter {name!r}{plugins.nearest(name, known)}")
    return _validated(kind, dict(parameters), source)


def checked(instance: Any) -> Any:
    """Return the same instance of the user's, its parameters validated as those of a recipe are."""
    kind: Any = type(instance)
    if not is_dataclass(instance) or isinstance(instance, type):
        raise BadInputError(f"{kind.__name__} is not a dataclass of hyper-parameters")
    given = {parameter.name: getattr(instance, parameter.name) for parameter in fields(instance)}
    return _validated(kind, given, repr(kind.__name__))


def _validated(kind: type[Any], parameters: dict[str, Any], source: str) -> Any:
    refuse_not_finite(parameters, source)
    try:
        return TypeAdapter[Any](kind).validate_python(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{source}: {where}: {first['msg']}") from error
