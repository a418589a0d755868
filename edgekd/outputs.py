"""Which of the outputs that a network has by name a task, a method or a metric reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from edgekd.errors import BadInputError

T = TypeVar("T")
LOGITS = "logits"  # what a single output is called
Reads = str | tuple[str, ...] | None
"""One output by name, or several; None: `logits`, else the first; (): all that there are, or the only one."""


def each(outputs: Any, change: Callable[[Any], Any]) -> Any:
    """Return outputs of the same form, one or several by name, each of them changed."""
    return {name: change(value) for name, value in outputs.items()} if isinstance(outputs, Mapping) else change(outputs)


def joined(parts: Sequence[Any]) -> Any:
    """Return the outputs of consecutive batches as those of one."""
    if isinstance(parts[0], Mapping):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def stacked(samples: Sequence[Any]) -> Any:
    """Return the outputs (N, …) of single samples."""
    if isinstance(samples[0], Mapping):
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    return np.stack(samples)


def first(reads: Reads) -> str | None:
    """Return the first name of those that are read; None without names."""
    return next(iter(reads), None) if isinstance(reads, tuple) else reads


def chosen(outputs: Mapping[str, T], reads: Reads, reader: str, source: str = "the model") -> T | dict[str, T]:
    """Return the one output that is read or, where several are, these by name.

    Raises BadInputError, about what the `reader` needs and the `source` has, where one is missing.
    """
    if isinstance(reads, tuple) and (reads or len(outputs) > 1):
        return {name: one(outputs, name, reader, source) for name in reads or outputs}
    return one(outputs, first(reads), reader, source)


def one(outputs: Mapping[str, T], name: str | None, reader: str, source: str = "the model") -> T:
    """Return the output of this name; without one `logits`, else the first. Errors as in `chosen`."""
    found = name or (LOGITS if LOGITS in outputs else next(iter(outputs), LOGITS))
    if found not in outputs:
        there = ", ".join(map(repr, outputs)) or "no tensor"
        raise BadInputError(f"{source} puts out {there}; {reader} reads {found!r}: let its forward return that by name")
    return outputs[found]
