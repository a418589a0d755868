"""Things found by name: built-in modules and folders of a package."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from edgekd.errors import BadInputError

_INSTALLED = ("<", str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'temperature'?`, or the list of what exists."""
    options = sorted(known)
    match = difflib.get_close_matches(name, options, n=1)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(options)}" if options else ""


def names(package: str) -> list[str]:
    """Modules of a package, spelled as users write them (`-` for `_`)."""
    folder = importlib.import_module(package).__path__
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))


def folders(package: str) -> list[str]:
    """Packages in a package, spelled as users write them."""
    path = importlib.import_module(package).__path__
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(path) if m.ispkg and m.name[0] != "_")


def folder_of(package: str, name: str, kind: str) -> str:
    """The package in `package` called `name`; raise BadInputError with the nearest name. Nothing is imported."""
    known = folders(package)
    if name not in known:
        raise BadInputError(f"unknown {kind} {name!r}{nearest(name, known)}")
    return f"{package}.{name.replace('-', '_')}"


def summaries(package: str) -> dict[str, str]:
    """First docstring line of each module of a package, read without importing it (it may need a missing SDK)."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    sources = {
        p.stem: p.read_text(encoding="utf-8") for folder in folders for p in sorted(Path(folder).glob("[!_]*.py"))
    }
    documented = {name: ast.get_docstring(ast.parse(source)) or "" for name, source in sources.items()}
    return {name.replace("_", "-"): text.partition("\n")[0] for name, text in documented.items()}


def builtin(package: str, name: str, kind: str) -> ModuleType:
    """Import the module of `package` called `name`; raise BadInputError with the nearest name."""
    known = names(package)
    if name not in known:
        raise BadInputError(f"unknown {kind} {name!r}{nearest(name, known)}")
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def module_of(package: str, reference: str) -> str:
    """The module in which a name of `package`'s, or a user's `module:attribute`, is found; nothing is imported."""
    module, colon, _ = reference.partition(":")
    return module if colon else f"{package}.{reference.replace('-', '_')}"


def told(error: BaseException) -> str:
    """An error of the user's own code in one line: its kind, what it says first, and the last line of that code."""
    words = str(error).strip().partition("\n")[0]
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_INSTALLED)]
    if not own or isinstance(error, SyntaxError):  # which says itself where it is
        return said
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})"
