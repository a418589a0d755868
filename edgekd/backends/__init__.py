"""Backends: a QDQ or float ONNX graph becomes a bundle that a runtime on the device loads.

A backend is one folder here, found by its name. Its `compile.py` is a `compiled.Backend`.
"""

import importlib
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError
from edgekd.plugins import folders, nearest

if TYPE_CHECKING:
    from edgekd.backends.compiled import Backend


def backend_names() -> list[str]:
    """Names of all backends, whether their SDK is installed or not."""
    return folders(__name__)


def find_backend(name: str) -> "Backend":
    """Look a backend up; raise BadInputError with the nearest name."""
    backend: Backend = importlib.import_module(source_of(name))
    return backend


def source_of(name: str) -> str:
    """The module that compiles for a backend; nothing is imported. BadInputError with the nearest name."""
    if name not in backend_names():
        raise BadInputError(f"unknown backend {name!r}{nearest(name, backend_names())}")
    return f"{__name__}.{name.replace('-', '_')}.compile"


def stand_in(name: str) -> str | None:
    """What runs in the place of a backend's device, in one line; None where the device itself does."""
    found: str | None = getattr(find_backend(name), "STAND_IN", None)
    return found
