"""Backends: a QDQ or float ONNX graph becomes a bundle that a runtime on the device loads.

A backend is one folder here, found by its name: `compile.py` is a `compiled.Backend`, `runtime.py` has `RUNTIME`, the
`runner.runtime.Runtime` that leaves with the bundle, and `needs.py` has `NEEDS`, the `needs.Needs` of both.
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
