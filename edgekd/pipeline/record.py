"""What a stage remembers of its result, and what has changed since."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgekd.files import digest
from edgekd.pipeline.origin import Origin
from edgekd.schema import Schema

_SHOWN = 3
_SHORT = 40  # letters of a value that is shown


class Basis(Schema):
    """All that decides a stage's result: its inputs, the digests of its sources, the versions of its libraries."""

    inputs: dict[str, Any]
    sources: dict[str, str]
    versions: dict[str, str]

    def key(self, stage: str) -> str:
        """Return the name of the result."""
        return digest({"stage": stage, **self.model_dump(mode="json")})


class Record(Schema):
    """A stage's result, the files that it left with their SHA-256, and how it came about."""

    basis: Basis
    key: str
    origin: Origin
    seconds: float
    result: Any
    files: dict[str, str]


def changes(before: Record, now: Basis) -> str:
    """Return in one line what of a stage's basis is not what it was."""
    since = f" since {before.origin.commit[:7]}" if before.origin.commit else ""
    sources = [name for name, _, _ in _differences(before.basis.sources, now.sources)]
    found = [f"{_listed(sources)} changed{since}"] if sources else []
    found += [_told(*each) for each in _differences(before.basis.versions, now.versions)]
    inputs = list(_differences(dict(_leaves(before.basis.inputs)), dict(_leaves(now.inputs))))
    found += [_told(*each) for each in inputs[:_SHOWN]]
    return "; ".join(found + ([f"and {len(inputs) - _SHOWN} more"] if len(inputs) > _SHOWN else []))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The single values in nested ones, by dotted path."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if inner is None:
        yield name, value
        return
    for key, part in inner:
        yield from _leaves(part, f"{name}.{key}" if name else str(key))


def _told(name: str, before: Any, now: Any) -> str:
    """`epochs 3 → 4`; of what nobody can read, such as a digest, only that it changed."""
    values = [str(value) for value in (before, now)]
    return f"{name} changed" if max(map(len, values)) > _SHORT else f"{name} {values[0]} → {values[1]}"


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
