"""A recipe's `module:function`: code of the user's own or of an installed package, never of Python itself."""

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekd.errors import BadInputError
from edgekd.plugins import names, nearest, told

_STANDARD = sys.stdlib_module_names | {"__main__", "test"}
_folders: list[str] = []  # searched after everything installed


def look_in(folder: Path) -> None:
    """Let modules be found in a folder too, after all others, so that a file there takes no installed one's place."""
    found = str(folder.resolve())
    if found not in sys.path:
        sys.path.append(found)
        _folders.append(found)


def is_own(reference: str) -> bool:
    """Whether a name is `module:function`, and not `LIBRARY:NAME` of `edgekd.model_libraries` or a built-in one."""
    name, colon, _ = reference.partition(":")
    return bool(colon) and name not in names("edgekd.model_libraries")


def check_reference(reference: str) -> None:
    """Raise BadInputError for what is not `module:function`, or names a module of Python itself; runs nothing."""
    module, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise BadInputError(f"{reference!r}: expected module:function")
    if module.partition(".")[0] in _STANDARD:
        raise BadInputError(f"{reference!r}: Python's own modules may not be named, only your code and packages")


def custom(reference: str, kind: str) -> Any:
    """Return what `module:attribute` names; the recipe's folder and the current one are searched too.

    Raises BadInputError where there is none, where it is Python's own, or where two modules go by the name.
    """
    check_reference(reference)
    module_name, _, attribute = reference.partition(":")
    look_in(Path.cwd())
    _refuse_ambiguous(module_name.partition(".")[0], reference)
    module = _imported(module_name, f"{kind} {reference!r}")
    if not hasattr(module, attribute):
        raise BadInputError(
            f"{kind} {reference!r}: {module_name} has no {attribute!r}{nearest(attribute, vars(module))}"
        )
    found = getattr(module, attribute)
    if _is_standard(found):
        raise BadInputError(f"{kind} {reference!r}: is Python's own, not your code or a package's")
    return found


def _imported(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BadInputError(f"{what}: no module named {error.name!r}") from error
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"{what}: {told(error)}") from error


def _refuse_ambiguous(name: str, reference: str) -> None:
    own = _origin(name, _folders)
    installed = _origin(name, [path for path in sys.path if path not in _folders])
    if own and installed and not own.samefile(installed):
        raise BadInputError(f"{reference!r}: {own} or {installed}? rename your {name}")


def _origin(name: str, folders: Sequence[str]) -> Path | None:
    """Return the file of a module or package; a namespace has none."""
    spec: ModuleSpec | None = PathFinder.find_spec(name, folders)
    return Path(spec.origin) if spec and spec.origin else None


def _is_standard(found: Any) -> bool:
    while isinstance(found, functools.partial):
        found = found.func
    home = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0] in _STANDARD
