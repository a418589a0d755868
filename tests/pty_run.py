"""A program in a terminal of a given width: what it would show."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def in_terminal(argv: Sequence[str], width: int, env: Mapping[str, str] | None = None, typed: str = "") -> str:
    """Everything that a command writes to a pseudo-terminal of `width` columns, in which a user has `typed`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm-256color", **(env or {})}
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    written = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux's end of a pseudo-terminal
        return b""
