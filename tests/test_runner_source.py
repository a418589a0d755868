"""The runner that leaves: one file of parts, which Python 3.8 reads and which needs nothing of ours."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekd.errors import BadInputError
from edgekd.runner.runtime import Runtime
from edgekd.runner_source import parts_of, runner_source
from edgekd.runtimes import backend_names, find_runtime
from tests.export.runner import runner_file

each_backend = pytest.mark.parametrize("backend", backend_names())


@each_backend
def test_is_python_3_8_and_imports_only_the_standard_library_and_numpy(backend: str) -> None:
    tree = ast.parse(runner_source(backend), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names) | {"numpy"}


def test_every_backends_runner_needs_no_later_python_than_3_8() -> None:
    """Names and arguments of the standard library, too, which a parser does not know."""
    options = ("--target=3.8-", "--violations", "--no-tips", "--eval-annotations")
    argv = [sys.executable, "-c", "import vermin; vermin.main()", *options, *map(runner_file, backend_names())]
    finished = subprocess.run(argv, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout
    assert "Minimum required versions: 3." in finished.stdout  # it has read them


def test_no_name_is_missing_or_defined_twice() -> None:
    """F811 and F821 among them: what a part takes of another is there, and before it."""
    rules = ("--isolated", "--target-version=py38", "--line-length=120", "--select=E,F,W", "--ignore=E402")
    argv = [sys.executable, "-m", "ruff", "check", "--quiet", *rules, *map(runner_file, backend_names())]
    finished = subprocess.run(argv, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout


def test_types_hold_in_the_assembled_file() -> None:
    argv = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=skip", runner_file("tensorrt")]
    finished = subprocess.run(argv, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout


@each_backend
def test_names_of_two_parts_never_meet(backend: str) -> None:
    """Private ones too: in one file the later one would take the place of the earlier."""
    names = Counter(name for module in parts_of(backend) for name in defined(module))
    assert len(names) > 60
    assert {name for name, count in names.items() if count > 1} <= {"RUNTIME"}
    assert runner_source(backend).count("\nRUNTIME = ") == 1  # that of the backend, whatever it builds on


def defined(module: str) -> Iterator[str]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@each_backend
def test_each_part_is_in_it_once_and_no_other_runtime(backend: str) -> None:
    source = runner_source(backend)
    for module in parts_of(backend):
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        title = (ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or "").partition("\n")[0]
        assert source.count(f"# {title[:60]}") == 1
    bases = find_runtime(backend).__mro__
    assert [line for line in source.splitlines() if "(Runtime):" in line] == [
        f"class {kind.__name__}(Runtime):" for kind in bases if Runtime in kind.__bases__
    ]


def test_it_is_the_same_file_in_every_process(tmp_path: Path) -> None:
    script = "import hashlib; from edgekd.runner_source import runner_source as s; print(s('tflite'), end='')"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert other.stdout == runner_source("tflite") == runner_file("tflite").read_text()


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(BadInputError, match="unknown backend 'tflit'; did you mean 'tflite'"):
        runner_source("tflit")
