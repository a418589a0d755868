"""What torch's exporter would do again and again: half of an export's time, and nothing that it writes."""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def hastened() -> Iterator[None]:
    """Let exports in the block do once what is the same each time."""
    with built_once(), _listed_once(), _uncollected():
        yield


@contextmanager
def built_once() -> Iterator[None]:
    """Let exports in the block take copies of the table of ONNX's words for operators, where this torch has it."""
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


@contextmanager
def _listed_once() -> Iterator[None]:
    """Torch lists all its operators for each of its namespaces, twice; an export brings no new ones."""
    from torch._export import utils

    name = "_materialize_cpp_cia_ops"
    listing = getattr(utils, name, None)
    if listing is None:  # another torch
        yield
        return
    setattr(utils, name, cache(listing))
    try:
        yield
    finally:
        setattr(utils, name, listing)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Of the million objects that an export makes most stay to its end: the collector would pass them over and over."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
