"""The sources that a stage's result depends on: its modules and all that they import, found without running them."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER, PACKAGE = Path(__file__).parents[1], "edgekd"
# What decides whether a stage runs, and what is told of it, but not what comes out; and the front door, that has all.
_APART = {f"edgekd{name}" for name in ("", ".progress", ".reporting")}
_APART |= {f"edgekd.pipeline.{name}" for name in ("origin", "record", "sources", "stages")}
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_INSTALLED = {"site-packages", "dist-packages"}
_DIGITS = 16


@dataclass(frozen=True)
class Sources:
    """`digests` by file (edgekd's own without its folder), and the top-level names of what else they import."""

    digests: dict[str, str]
    libraries: frozenset[str]


def reach(roots: Iterable[str]) -> Sources:
    """Return the sources of modules, edgekd's or a user's, and of all that they import, in functions too.

    Comments and docstrings do not count. Installed packages do not either, unless a root is in one: see `libraries`.
    """
    digests, libraries, seen = dict[str, str](), set[str](), set[str]()
    pending = list(dict.fromkeys(roots))
    own = frozenset(name.partition(".")[0] for name in pending)
    while pending:
        name = pending.pop()
        if name in seen or name in _APART or name.rpartition(".")[0] in _APART - {PACKAGE}:
            continue
        seen.add(name)
        path = _file(name, own)
        if path is None:
            libraries.add(name.partition(".")[0])
            continue
        module = _parsed(path, name)
        digests[_label(name, path)] = module.digest
        pending += [*module.imports, *_packages(name)]
    return Sources(dict(sorted(digests.items())), frozenset(libraries))


@cache
def data_files(folder: Path) -> dict[str, str]:
    """Return the digests, by file, of what a folder holds; not of its folders."""
    return {
        f"{folder.name}/{path.name}": _digest(path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()
    }


@dataclass(frozen=True)
class _Module:
    digest: str
    imports: tuple[str, ...]


@cache
def _parsed(path: Path, name: str) -> _Module:
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):  # a user's: whoever imports it says what is wrong
        return _Module(_digest(content), ())
    imports = dict.fromkeys(_imports(tree, name, path.name == "__init__.py"))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return _Module(_digest(ast.unparse(tree).encode()), tuple(imports))


def _imports(node: ast.AST, name: str, is_package: bool) -> Iterator[str]:
    """The modules that may be meant: in `from a import b`, b may be one, or a name in a."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        home = name.split(".")[: -node.level or None] if not is_package else name.split(".")[: 1 - node.level or None]
        base = ".".join([*(home if node.level else ()), *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    skipped = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else ()
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _imports(child, name, is_package)


def _packages(name: str) -> list[str]:
    """The packages that a user's module is in, and which run before it; edgekd's own only gather names."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))] if parts[0] != PACKAGE else []


def _file(name: str, own: frozenset[str]) -> Path | None:
    """Where a module's source is; None for a name in a module, and for installed packages but the `own` ones."""
    top, *rest = name.split(".")
    if top == PACKAGE:
        return _ours(FOLDER, *rest)
    start = _start(top)
    if start is None or (top not in own and _INSTALLED & set(start.parts)):
        return None
    return _within(start.parent, rest) if start.name == "__init__.py" else start if not rest else None


@cache
def _ours(folder: Path, *parts: str) -> Path | None:
    """What is installed stays while we run; a user's files may not."""
    return _within(folder, parts)


def _within(folder: Path, parts: Sequence[str]) -> Path | None:
    place = folder.joinpath(*parts)
    candidates = ([place.with_suffix(".py")] if parts else []) + [place / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def _start(top: str) -> Path | None:
    """The source of a top-level module, looked up each time: another folder may come first now; imports nothing."""
    if top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _label(name: str, path: Path) -> str:
    return str(path.relative_to(FOLDER)) if path.is_relative_to(FOLDER) else f"{name.replace('.', '/')}.py"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
