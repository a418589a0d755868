"""Backends: a QDQ or float ONNX graph becomes a bundle that a runtime on the device loads.

A backend is one module here with `EXTRA`, `TOLERANCE` and `compile` (see `compiled.Backend`); it is found by its name.
"""

import importlib
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError
from edgekd.plugins import names, nearest

if TYPE_CHECKING:
    from edgekd.backends.compiled import Backend


def backend_names() -> list[str]:
    """Names of all backends, whether their SDK is installed or not."""
    return [name for name in names(__name__) if _load(name) is not None]


def find_backend(name: str) -> "Backend":
    """Look a backend up; raise BadInputError with the nearest name."""
    backend = _load(name) if name in names(__name__) else None
    if backend is None:
        raise BadInputError(f"unknown backend {name!r}{nearest(name, backend_names())}")
    return backend


def stand_in(name: str) -> str | None:
    """What runs in the place of a backend's device, in one line; None where the device itself does."""
    found: str | None = getattr(find_backend(name), "STAND_IN", None)
    return found


def _load(name: str) -> "Backend | None":
    from edgekd.backends.compiled import Backend

    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return module if isinstance(module, Backend) else None
