"""How torch's exporter writes operators in ONNX: a table that it builds anew for every export, in half a second."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def built_once() -> Iterator[None]:
    """Let exports in the block take copies of a table that is kept, where this torch has it."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # another torch
        yield
        return
    original, build = ONNXRegistry.__dict__["from_torchlib"], ONNXRegistry.from_torchlib

    def copied(**settings: Any) -> Any:
        kept = _built(build, tuple(settings.items()))
        table = copy.copy(kept)
        table.functions = {name: list(found) for name, found in kept.functions.items()}  # an export adds its own
        return table

    ONNXRegistry.from_torchlib = staticmethod(copied)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = original  # type: ignore[method-assign]


@cache
def _built(build: Callable[..., Any], settings: tuple[tuple[str, Any], ...]) -> Any:
    return build(**dict(settings))
