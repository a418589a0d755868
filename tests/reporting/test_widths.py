"""Every table in terminals of three widths, against what was looked at: after a change, write with SNAPSHOTS=1."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.pty_run import in_terminal
from tests.reporting import views

SNAPSHOTS = Path(__file__).with_name("snapshots")
SHOW = (sys.executable, "-m", "tests.reporting.views")
STYLE = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(scope="module", params=[60, 80, 120])
def shown(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param, in_terminal(SHOW, request.param)


def test_tables_are_as_they_were_looked_at(shown: tuple[int, str]) -> None:
    width, written = shown
    path, plain = SNAPSHOTS / f"{width}.txt", STYLE.sub("", written).replace("\u00a0", " ")
    if os.environ.get("SNAPSHOTS"):
        path.write_text(plain, encoding="utf-8")
    assert plain == path.read_text(encoding="utf-8")


def test_a_line_is_too_long_only_where_it_is_to_be_copied(shown: tuple[int, str]) -> None:
    """Commands and last lines, which name files and the next command."""
    width, written = shown
    for view in STYLE.sub("", written).split("$ edgekd ")[1:]:
        for line in view.rstrip().splitlines()[:-1]:
            assert cell_len(line) <= width or "pip install" in line, line


def test_no_value_is_lost(shown: tuple[int, str]) -> None:
    words = STYLE.sub("", shown[1]).split()
    for target in views.RUN.targets:
        assert target in words
    for word in ("raspberry-pi-5-onnxruntime", "dynamic-range", "arXiv:1909.10351).", "0.502", "+28.4", "regression"):
        assert any(word in found for found in words), word


@pytest.mark.parametrize(("asked", "colours"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_colours_survive_a_pipe_only_when_asked_for(asked: dict[str, str], colours: bool) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**kept, "TERM": "xterm-256color", "COLUMNS": "80", **asked}
    written = subprocess.check_output(SHOW, env=environment, text=True)
    assert bool(STYLE.search(written)) is colours
    assert STYLE.sub("", written).replace("\u00a0", " ") == (SNAPSHOTS / "80.txt").read_text(encoding="utf-8")
