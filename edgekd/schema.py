"""What every file format shares: frozen, strict models whose errors are one clear line."""

import json
import math
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.reading import reading

Cores = Annotated[str, Field(pattern=r"^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$")]  # such as 4-7 or 0,2

# Numbers from outside; Schema refuses what is not finite.
Threads = Annotated[int, Field(gt=0, le=1024)]
Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=1e-6, le=1e9)]  # a nanosecond to eleven days
Megabytes = Annotated[float, Field(ge=0, le=1e9)]  # a petabyte
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Schema(BaseModel):
    """A frozen model that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, document: Any, source: str) -> Self:
        """Validate a decoded document; raise BadInputError naming the source, the key and the nearest valid one."""
        with reading(source, "readable"):
            text = json.dumps(document, default=str)
            refuse_not_finite(document, source)
        try:
            return cls.model_validate_json(text)  # JSON mode: lists are tuples, 1 is not True
        except ValidationError as error:
            raise BadInputError(f"{source}: {explain(cls, error)}") from error

    @classmethod
    def decode(cls, line: bytes, source: str) -> Self:
        """Validate a document in JSON; errors as in `parse`."""
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            raise BadInputError(f"{source}: {explain(cls, error)}") from error


class TaskSpec(Schema):
    """A task by built-in name or the user's `module:class`, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


def refuse_not_finite(document: Any, source: str) -> None:
    """Raise BadInputError, naming the key, for a number in a decoded document that is nan or infinite."""
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInputError(f"{source}: {where}: {value} is not a finite number")
        inner = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if isinstance(inner, dict):
            pending += [(f"{where}.{key}".lstrip("."), part) for key, part in inner.items()]


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """The first validation error as one line."""
    return explain_each(model, error)[0][1]


def explain_each(model: type[BaseModel], error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Return the path and one line of every validation error, but for those that only follow from another one."""
    errors = [found for found in error.errors() if found["type"] != "default_factory_not_called"]
    return [(found["loc"], _explained(model, found)) for found in errors]


def _explained(model: type[BaseModel], found: ErrorDetails) -> str:
    path = found["loc"]
    where = ".".join(str(part) for part in path)
    if found["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(str(path[-1]), _keys_at(model, path[:-1]))}"
    if found["type"] == "missing":
        return f"missing key {where!r}"
    message = found["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    fields: type[BaseModel] | None = model
    for part in path:
        if fields is not None and isinstance(part, str) and part in fields.model_fields:
            fields = _inner_model(fields.model_fields[part].annotation)
    return list(fields.model_fields) if fields is not None else []


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_inner_model(argument) for argument in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
