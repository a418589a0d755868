"""Benchmarks run by hand and rarely: what they take of edgekd has to be there all the same."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.mutants import EQUIVALENT
from benchmarks.mutation import mutants

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


def names_of(body: list[ast.stmt]) -> Iterator[str]:
    """What a module's statements define or import."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
        elif isinstance(statement, ast.If | ast.Try):
            yield from names_of(statement.body)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_benchmark_imports_what_there_is(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("edgekd."):
            continue
        place = ROOT / node.module.replace(".", "/")
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        there = {*names_of(ast.parse(file.read_text(encoding="utf-8")).body), *(path.stem for path in place.glob("*"))}
        assert {alias.name for alias in node.names} <= there, node.module


def test_a_mutant_that_is_called_equivalent_is_there() -> None:
    """Its reason is of that code alone."""
    called = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    modules = {name.partition(":")[0]: (ROOT / name.partition(":")[0]).read_text(encoding="utf-8") for name in called}
    there = {mutant.identity for module, source in modules.items() for mutant, _ in mutants(module, source)}
    assert called.keys() <= there
