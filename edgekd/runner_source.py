"""The runner that leaves with a bundle: one file, assembled from `edgekd/runner/` and a backend's `runtime.py`.

A runtime may build on another backend's, which it imports from that one's `runtime.py`: both leave then.
"""

import ast
import importlib.util
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from edgekd.errors import BadInputError
from edgekd.package_data import EXPORT
from edgekd.runtimes import source_of

RUNNER = "run.py"
FIRST = ("errors", "bundle", "machine", "judge", "runtime")
LAST = ("verbs", "cli")
ANOTHER = re.compile(r"edgekd\.backends\.\w+\.runtime")
CHOICE = "RUNTIME"  # the class of a backend: the last part that has one decides
WIDTH = 120


@cache
def runner_source(backend: str) -> str:
    """The text of a backend's runner, the same for the same parts; raise BadInputError for an unknown backend."""
    own = f"{source_of(backend)}.runtime"
    parts = [_Part.read(module, chosen=module == own) for module in parts_of(backend)]
    frame = (EXPORT / f"{RUNNER}.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(frame).render(backend=backend, imports=_imports(parts), parts=parts)


def write_runner(backend: str, folder: Path) -> Path:
    """Write a backend's runner into a folder; errors as in `runner_source`."""
    path = folder / RUNNER
    path.write_text(runner_source(backend), encoding="utf-8")
    return path


def parts_of(backend: str) -> list[str]:
    """The modules that a backend's runner is made of, in their order."""
    first, last = ([f"edgekd.runner.{name}" for name in names] for names in (FIRST, LAST))
    return [*first, *_runtimes(f"{source_of(backend)}.runtime"), *last]


def _runtimes(module: str) -> list[str]:
    """A runtime behind those that it builds on."""
    tree = ast.parse(_text(module))
    imported = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [*(base for name in imported if ANOTHER.fullmatch(name) for base in _runtimes(name)), module]


def _text(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Part:
    """One module, cut up: its docstring, its imports from elsewhere, those that it guards, and the rest."""

    title: str
    imports: tuple[ast.Import | ast.ImportFrom, ...]
    guarded: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def read(cls, module: str, chosen: bool) -> "_Part":
        text = _text(module)
        tree, lines = ast.parse(text), text.splitlines()
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        guards = [node for node in tree.body if isinstance(node, ast.Try)]
        guarded = ["\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in guards]  # with their comments
        choices = [] if chosen else [node for node in tree.body if _is_choice(node)]
        for node in (tree.body[0], *imports, *guards, *choices):
            lines[node.lineno - 1 : node.end_lineno] = [""] * len(lines[node.lineno - 1 : node.end_lineno])
        return cls(
            title=" ".join((ast.get_docstring(tree) or "").split()),
            imports=tuple(node for node in imports if not _is_internal(node, module)),
            guarded=tuple((_bound(node), guard) for node, guard in zip(guards, guarded, strict=True)),
            body="\n".join(lines).strip("\n"),
        )

    @property
    def heading(self) -> str:
        """The docstring as a comment, below a rule."""
        lines = textwrap.wrap(self.title, WIDTH - 2)
        return "\n".join(["# " + "-" * (WIDTH - 2), *(f"# {line}" for line in lines)])


def _is_internal(node: ast.Import | ast.ImportFrom, module: str) -> bool:
    """Whether it is of another part, or of the future, which the frame begins with; else refuse what stays here."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    if names[0] == "__future__" or names[0].startswith("edgekd.runner.") or ANOTHER.fullmatch(names[0]):
        return True
    absent = [name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy"}]
    if absent:
        told = "the standard library, numpy, edgekd.runner and another backend's runtime.py leave with a bundle"
        raise BadInputError(f"{module} imports {', '.join(absent)}: only {told}")
    return False


def _is_choice(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CHOICE


def _bound(guard: ast.Try) -> str:
    """The name that a guarded import binds."""
    (node,) = guard.body
    assert isinstance(node, ast.Import)
    return node.names[0].asname or node.names[0].name


def _imports(parts: Sequence[_Part]) -> str:
    """One block: each module once, in order; what any part guards is guarded for all."""
    guarded = dict(pair for part in parts for pair in part.guarded)
    modules, names = set[str](), defaultdict[str, set[str]](set)
    for node in (node for part in parts for node in part.imports):
        if isinstance(node, ast.ImportFrom):
            names[node.module or ""] |= {ast.unparse(alias) for alias in node.names}
        else:
            modules |= {ast.unparse(alias) for alias in node.names if (alias.asname or alias.name) not in guarded}
    plain = [f"import {name}" for name in sorted(modules - {"sys"})]  # which the frame needs before
    return "\n".join([*plain, *_from(names.items()), "", *(guarded[name] for name in sorted(guarded))])


def _from(names: Iterable[tuple[str, set[str]]]) -> Iterator[str]:
    for module, found in sorted(names):
        line = f"from {module} import {', '.join(sorted(found))}"
        if len(line) <= WIDTH:
            yield line
        else:
            yield f"from {module} import (\n{textwrap.indent(textwrap.fill(', '.join(sorted(found)), 110), '    ')},\n)"
