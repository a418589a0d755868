"""What a piece of work holds in memory, in bytes."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def peak_of(work: Callable[[], T]) -> tuple[T, int]:
    """Return what the work gives and the most bytes that it held at once: numpy's arrays too, not mapped files."""
    gc.collect()
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
