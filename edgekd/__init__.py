"""Teach a small student, quantise it for its chip, and prove on that chip that what was trained is deployed."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.api import benchmark, distill, export, quantize
    from edgekd.distillation.hint import Hint
    from edgekd.distillation.kd import KD

__all__ = ["KD", "Hint", "benchmark", "distill", "export", "quantize"]

_HOMES = {
    "KD": "edgekd.distillation.kd",
    "Hint": "edgekd.distillation.hint",
    "benchmark": "edgekd.api",
    "distill": "edgekd.api",
    "export": "edgekd.api",
    "quantize": "edgekd.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("edgekd")
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
