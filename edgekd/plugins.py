"""Things found by name: modules and folders of a package, and what plug-ins bring for it by entry points."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekd.errors import BadInputError

_LISTED = 50  # names that an error can still list
_OURS = str(Path(__file__).parent)
_INSTALLED = ("<", _OURS, *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))


def nearest(name: str, known: Iterable[str], *, most: int = 1) -> str:
    """A hint such as `; did you mean 'temperature'?`, with so many names at `most`, or the list of what exists."""
    options = sorted(known)
    match = difflib.get_close_matches(name, options, n=most)
    if match:
        return f"; did you mean {' or '.join(map(repr, match))}?"
    return f"; known: {', '.join(options)}" if 0 < len(options) <= _LISTED else ""


def modules(package: str, *, folders: bool = False) -> dict[str, str]:
    """Modules by name, spelled as users write them (`-` for `_`): a package's own, and what plug-ins bring for it.

    `folders`: packages alone. Nothing is imported. A plug-in cannot take a built-in's name.
    """
    spec = importlib.util.find_spec(package)
    places = tuple(spec.submodule_search_locations or ()) if spec else ()
    return dict(sorted((plugged_in(package) | _own(package, places, folders)).items()))


@cache
def _own(package: str, places: tuple[str, ...], folders: bool) -> dict[str, str]:
    """A package's modules in its folders, or only those that are packages, by name."""
    return {
        info.name.replace("_", "-"): f"{package}.{info.name}"
        for info in pkgutil.iter_modules(places)
        if info.name[0] != "_" and (info.ispkg or not folders)
    }


def plugged_in(package: str) -> dict[str, str]:
    """What installed plug-ins bring for a package: the entry points of the group of its name, each a module."""
    found = _entry_points(tuple(sys.path)).select(group=package)
    return {entry.name.replace("_", "-"): entry.value for entry in found}


@cache
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all packages, which takes as long as those of one group; `path` is where packages are found."""
    from importlib.metadata import entry_points

    return entry_points()


def plugin_folders() -> list[Path]:
    """The folders of the packages that bring anything; nothing is imported."""
    from importlib.metadata import distributions

    entries = [entry for found in distributions() for entry in found.entry_points]
    tops = sorted({entry.value.partition(".")[0] for entry in entries if entry.group.startswith("edgekd.")})
    specs = [importlib.util.find_spec(top) for top in tops]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin is not None]


def names(package: str) -> list[str]:
    """Names of a package's modules and of what plug-ins bring for it."""
    return list(modules(package))


def locate(package: str, name: str, kind: str, *, folders: bool = False) -> str:
    """The module called `name`; raise BadInputError with the nearest name. Nothing is imported."""
    known = modules(package, folders=folders)
    if name not in known:
        raise BadInputError(f"unknown {kind} {name!r}{nearest(name, known)}")
    return known[name]


def builtin(package: str, name: str, kind: str) -> ModuleType:
    """Import the module called `name`, of the package or of a plug-in; errors as in `locate`."""
    return importlib.import_module(locate(package, name, kind))


def summaries(package: str) -> dict[str, str]:
    """First docstring line of each module, read without importing it (it may need a missing SDK)."""
    return {name: _summary(module) for name, module in modules(package).items()}


def _summary(module: str) -> str:
    path = _source(module)
    source = path.read_text(encoding="utf-8") if path else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _source(module: str) -> Path | None:
    """Where a module's source is; of its packages only the outermost may be imported."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not rest:
        return Path(spec.origin) if spec and spec.origin else None
    places = [Path(place, *rest) for place in spec.submodule_search_locations or ()]
    candidates = [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")]
    return next((path for path in candidates if path.is_file()), None)


def module_of(package: str, reference: str) -> str:
    """The module in which a name of `package`'s, or a user's `module:attribute`, is found; nothing is imported."""
    module, colon, _ = reference.partition(":")
    return module if colon else modules(package).get(reference, f"{package}.{reference.replace('-', '_')}")


def is_users(error: BaseException) -> bool:
    """Whether code of the user's own has raised an error, or called the library that has."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_OURS):
            return False
        if not frame.filename.startswith(_INSTALLED):
            return True
    return False


def told(error: BaseException) -> str:
    """An error of the user's own code in one line: its kind, what it says first, and the last line of that code."""
    words = str(error).strip().partition("\n")[0]
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_INSTALLED)]
    if not own or isinstance(error, SyntaxError):  # which says itself where it is
        return said
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})"
