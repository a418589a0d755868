"""Processes as /proc shows them."""

import time
from collections.abc import Callable
from pathlib import Path


def comm(pid: int) -> str:
    """A process's name, or nothing."""
    return _read(f"{pid}/comm").strip()


def descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    children = [int(word) for word in _read(f"{pid}/task/{pid}/children").split()]
    return [*children, *(below for child in children for below in descendants(child))]


def running(argument: str) -> bool:
    """Whether any process has this argument."""
    return any(argument in _read(f"{entry.name}/cmdline").split("\0") for entry in Path("/proc").glob("[0-9]*"))


def mentioned(text: str) -> bool:
    """Whether the command line of any process holds this."""
    return any(text in _read(f"{entry.name}/cmdline") for entry in Path("/proc").glob("[0-9]*"))


def until(expected: bool, argument: str, seconds: float = 30.0) -> bool:
    """Whether a process with this argument is there, or not there, in time."""
    return eventually(lambda: running(argument) is expected, seconds)


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it holds in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _read(name: str) -> str:
    try:
        return Path("/proc", name).read_text(errors="replace")
    except OSError:
        return ""
