"""The processes that one has started, and what memory they take."""

import ctypes
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KCMP, KCMP_VM = {"x86_64": 312, "aarch64": 272}, 1  # of Linux: `man 2 kcmp`


def tree(root: int) -> Iterator[int]:
    """A process and all that it has started, parents first."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has ended meanwhile
            continue
        for child in map(int, children):
            if not _shares_memory(root, child):
                yield from tree(child)


def resident(pid: int) -> int:
    """Resident bytes of a process, shared pages by its share (PSS); 0 of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def kill(root: int) -> None:
    """End a process and all that it has started, none of which is told."""
    for pid in [*tree(root)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _shares_memory(one: int, other: int) -> bool:
    """Whether two processes have the same memory, as a parent and its child have until that executes its program.

    Counted twice, it looked like a peak.
    """
    return ctypes.CDLL(None).syscall(KCMP[platform.machine()], one, other, KCMP_VM, 0, 0) == 0
