"""Backends: a QDQ or float ONNX graph becomes a bundle that a runtime on the device loads.

A backend is one folder here, found by its name: `compile.py` is a `compiled.Backend`, `runtime.py` has `RUNTIME`, the
`runner.runtime.Runtime` that leaves with the bundle.
"""

import importlib
from typing import TYPE_CHECKING

from edgekd.runtimes import source_of

if TYPE_CHECKING:
    from edgekd.backends.compiled import Backend


def find_backend(name: str) -> "Backend":
    """Look a backend up; raise BadInputError with the nearest name."""
    backend: Backend = importlib.import_module(f"{source_of(name)}.compile")
    return backend


def stand_in(name: str) -> str | None:
    """What runs in the place of a backend's device, in one line; None where the device itself does."""
    found: str | None = getattr(find_backend(name), "STAND_IN", None)
    return found
