import os
import subprocess
import sys

import pytest

from tests.pty_run import in_terminal

NAME = "bundles/[/b] [red]"  # rich would take the first for the end of a tag
SCRIPT = f"""
from edgekd.progress import Reporter
reporter = Reporter()
with reporter.track("measuring {NAME}", total=2) as bar:
    bar.advance(note="at {NAME}")
reporter.say("done {NAME}")
"""
SHOW = (sys.executable, "-c", SCRIPT)


def test_names_are_shown_as_they_are() -> None:
    said = in_terminal(SHOW, 100)
    for part in (f"measuring {NAME}", f"at {NAME}", f"done {NAME}"):
        assert part in said


@pytest.mark.parametrize("asked", [{}, {"FORCE_COLOR": "1"}])
def test_no_bar_moves_in_a_file(asked: dict[str, str]) -> None:
    said = subprocess.run(SHOW, env={**os.environ, **asked}, capture_output=True, text=True, check=True).stderr
    assert said == f"measuring {NAME}\ndone {NAME}\n"
