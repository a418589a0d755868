"""What the methods are, and what a recipe makes of them, as plain rows."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from pydantic import TypeAdapter

from edgekd.plugins import summaries

PACKAGE, REQUIRED = "edgekd.distillation", "required"


def method_rows() -> list[dict[str, Any]]:
    """Every method with its paper and its parameters' defaults; without torch, which they need, their papers alone."""
    rows = [{"method": name, "what": what} for name, what in summaries(PACKAGE).items()]
    try:
        from edgekd.distillation import method_class
    except ModuleNotFoundError:
        return rows
    return [row | {"parameters": _defaults(method_class(row["method"]))} for row in rows]


def with_parameters(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A recipe's `[[distillation]]` entries with every parameter, given or not, as JSON."""
    from edgekd.distillation import load_methods

    loaded = zip(entries, load_methods([dict(entry) for entry in entries]), strict=True)
    return [{"method": entry["method"], **_plain(method)} for entry, method in loaded]


def _plain(method: Any) -> dict[str, Any]:
    plain: dict[str, Any] = TypeAdapter[Any](type(method)).dump_python(method, mode="json", exclude_none=True)
    return plain


def _defaults(kind: type[Any]) -> dict[str, Any]:
    defaults = {parameter.name: parameter.default for parameter in fields(kind)}
    return {
        name: REQUIRED if default is MISSING else TypeAdapter[Any](type(default)).dump_python(default, mode="json")
        for name, default in defaults.items()
    }
