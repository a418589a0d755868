"""Locks that end with a process; and the commands that a system without them has all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.locks import lock

ABSENT = ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty")  # on Windows
COMMANDS = (("--version",), ("--help",), ("targets",), ("methods",), ("recipes",), ("doctor",))


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        lock(first.fileno())
        with pytest.raises(BlockingIOError):
            lock(second.fileno(), wait=False)
    with path.open("w") as third:
        lock(third.fileno(), wait=False)


def test_a_system_without_locks_can_look_up_and_says_what_it_lacks(tmp_path: Path) -> None:
    """Stands in for Windows, of which only the missing modules are played here."""
    (tmp_path / "lock").touch()
    script = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
from edgekd.errors import BadInputError
from edgekd.__main__ import main
from edgekd.locks import lock
for command in {COMMANDS!r}:
    sys.argv = ["edgekd", *command]
    try:
        main()
    except SystemExit as left:
        assert not left.code, (command, left.code)
try:
    lock(open("lock").fileno())
except BadInputError as error:
    print("lock:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("lock: Windows has no locks that end with a process: run edgekd in WSL\n")
