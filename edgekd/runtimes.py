"""What runs a backend's bundles on a device, and what that needs, by the backend's name; no SDK is imported for it."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekd.needs import Needs
from edgekd.plugins import locate, modules

if TYPE_CHECKING:
    from edgekd.runner.runtime import Runtime

BACKENDS = "edgekd.backends"


def backend_names() -> list[str]:
    """Names of all backends, whether their SDK is installed or not."""
    return list(modules(BACKENDS, folders=True))


def source_of(backend: str) -> str:
    """The package that a backend is; nothing is imported. BadInputError with the nearest name."""
    return locate(BACKENDS, backend, "backend", folders=True)


def find_runtime(backend: str) -> "type[Runtime]":
    """The class that leaves with a backend's bundles; errors as in `source_of`."""
    runtime: type[Runtime] = importlib.import_module(f"{source_of(backend)}.runtime").RUNTIME
    return runtime


def find_needs(backend: str, options: Mapping[str, object] | None = None) -> Needs:
    """What a backend needs, for targets with such runtime options; errors as in `source_of`."""
    needs: Needs = importlib.import_module(f"{source_of(backend)}.needs").NEEDS
    return needs.built_for(options or {})
