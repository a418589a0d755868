"""Which tests run which lines, and how long each takes.

A backend's `runtime.py` runs assembled into a runner, a compiler that may crash by `python -m`: in processes of their
own, which no coverage sees. All tests of a file that assembles or starts a module are taken to run it.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import cast

import coverage
import pytest

from benchmarks.forked import QUIET, fork
from benchmarks.mutation import Mutant

PACKAGES = ("distillation", "measure", "quantization", "backends")
ELSEWHERE = (
    "data",
    "export",
    "metrics",
    "onnx_import",
    "pipeline",
    "reporting",
    "students",
    "tasks",
    "training",
    "web",
)
STRIKING = {"test_kill.py", "test_strikes.py"}  # minutes, in processes that no coverage sees
LONGEST = 600  # CPU seconds of one file of tests
Lines = dict[str, dict[int, list[str]]]  # of a module, by line: tests


@dataclass(frozen=True)
class Covering:
    """`lines[path][line]` are the tests that run it, `seconds` of CPU time what each takes, `digests` their files'.

    `apart[path]` are the files of tests that run it in a process of its own.
    """

    lines: Lines
    apart: dict[str, set[str]]
    seconds: dict[str, float]
    digests: dict[str, str]

    def tests(self, mutant: Mutant) -> list[str]:
        """Those that run a mutant's statement; of what runs at import or apart, all of the files that run it."""
        lines, files = self.lines.get(mutant.path, {}), self.apart.get(mutant.path, set())
        first, last = mutant.lines
        found = {test for line, tests in lines.items() if mutant.at_import or first <= line <= last for test in tests}
        if mutant.at_import:
            files = files | {test.partition("::")[0] for test in found}
        found |= {test for test in self.seconds if test.partition("::")[0] in files}
        return sorted(found, key=lambda test: self.seconds[test])

    def fastest(self, mutant: Mutant, limit: float) -> tuple[list[str], float]:
        """As many of them as take less than a limit in all, and how long they take."""
        chosen, total = list[str](), 0.0
        for test in self.tests(mutant):
            if chosen and total + self.seconds[test] > limit:
                break
            chosen.append(test)
            total += self.seconds[test]
        return chosen, total

    def digest(self, mutant: Mutant) -> str:
        """Stands for the tests that a mutant meets."""
        files = {test.partition("::")[0] for test in self.tests(mutant)}
        return sha256("".join(self.digests[file] for file in sorted(files)).encode()).hexdigest()[:16]


def own_tests(tree: Path, package: str) -> list[Path]:
    """The files of a package's tests."""
    return sorted((tree / "tests" / package).rglob("test_*.py"))


def other_tests(tree: Path, package: str) -> list[Path]:
    """Those of all others that need no device."""
    others = [path for other in (*PACKAGES, *ELSEWHERE) if other != package for path in own_tests(tree, other)]
    return [path for path in (*others, *sorted((tree / "tests").glob("test_*.py"))) if path.name not in STRIKING]


def cover(tree: Path, folder: Path, files: Sequence[Path]) -> Covering:
    """Run each file of tests by itself, or take what is known where it and the code are unchanged."""
    code = _digest([Path(__file__), *sorted((tree / "edgekd").rglob("*.py"))])
    lines, apart, seconds, digests = Lines(), dict[str, set[str]](), dict[str, float](), dict[str, str]()
    for path in files:
        name = path.relative_to(tree).as_posix()
        digests[name] = _digest([path])
        kept = folder / "covering" / f"{code}-{digests[name]}.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            if fork(tree, partial(_measure, name, kept), LONGEST) != 0:
                raise SystemExit(f"{name} did not end")
        found = json.loads(kept.read_text(encoding="utf-8"))
        seconds |= found["seconds"]
        for module in found["apart"]:
            apart.setdefault(module, set()).add(name)
        for module, covered in found["lines"].items():
            for line, tests in covered.items():
                lines.setdefault(module, {}).setdefault(int(line), []).extend(tests)
    return Covering(lines, apart, seconds, digests)


def _digest(paths: Sequence[Path]) -> str:
    return sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


class Contexts:
    """Names the test to coverage while it runs, and keeps what those that pass take."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.measuring, self.seconds, self.failed = measuring, dict[str, float](), set[str]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Set-up and tear-down are the test's."""
        self.measuring.switch_context(item.nodeid)
        begin = sum(os.times()[:4])
        result = yield
        self.seconds[item.nodeid] = round(sum(os.times()[:4]) - begin, 3)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What does not pass without a mutant says nothing with one."""
        if not report.passed:
            self.failed.add(report.nodeid)


def _measure(tests: str, kept: Path) -> int:
    measuring = coverage.Coverage(data_file=None, source=[f"edgekd/{package}" for package in PACKAGES])
    contexts, apart = Contexts(measuring), set[str]()
    sys.addaudithook(partial(_note_apart, apart))  # for good: this is a fork
    measuring.start()
    pytest.main([*QUIET, tests], plugins=[contexts])
    measuring.stop()
    good = contexts.seconds.keys() - contexts.failed
    data, lines = measuring.get_data(), dict[str, dict[int, list[str]]]()
    for name in data.measured_files():
        by_line = {line: sorted(good & set(names)) for line, names in data.contexts_by_lineno(name).items()}
        lines[os.path.relpath(name)] = {line: names for line, names in by_line.items() if names}
    found = {"lines": lines, "apart": sorted(apart), "seconds": {x: contexts.seconds[x] for x in sorted(good)}}
    kept.write_text(json.dumps(found))
    return 0


def _note_apart(found: set[str], event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith("/runtime.py"):
        found.add(os.path.relpath(str(arguments[0])))
    elif event == "subprocess.Popen":
        words = [str(word) for word in cast("Sequence[object]", arguments[1])]
        found |= {f"{word.replace('.', '/')}.py" for word in words if word.startswith("edgekd.")}
