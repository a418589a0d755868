"""A client program whose standard input is a lifeline: letting go of it, or dying, ends what runs at its far end."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from edgekd.errors import DeviceError

GRACE = 5.0  # seconds for the far end to clean up once it is let go
LONGEST_PAUSE = 0.1  # seconds between two looks: rare enough that a timing here does not feel them


@dataclass(frozen=True)
class Limit:
    """How many bytes a program may write: in all, and on average per second."""

    total: int
    per_second: int

    def exceeded(self, written: int, seconds: float) -> bool:
        """Whether it wrote more; a burst of two seconds' worth is none."""
        return written > min(self.total, self.per_second * (seconds + 2))

    def __str__(self) -> str:
        return f"{self.per_second / 1e6:g} MB per second, or {self.total / 1e6:g} MB in all"


SAID, FETCHED = Limit(10**9, 32 * 10**6), Limit(8 * 10**9, 10**10)  # of a command, of a file that is fetched


class RemoteProcess:
    """`argv` with a script on its standard input, which then stays open. Its output goes to files: none can block."""

    def __init__(self, argv: Sequence[str], script: bytes, limit: Limit = SAID) -> None:
        self._stdout, self._stderr = _files()
        self._limit, self._begin, self._flooded = limit, time.monotonic(), False
        self._final: tuple[bytes, bytes] | None = None
        self._letting_go = threading.Lock()
        reader, self._hold = os.pipe()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=reader,
                stdout=self._stdout,
                stderr=self._stderr,
                env=environment(),
                start_new_session=True,  # Ctrl-C is ours to handle: the far end has to be cleaned up first
            )
        except OSError as error:
            os.close(self._hold)
            self._close()
            raise DeviceError(f"cannot run {argv[0]}: {error.strerror}; `edgekd doctor` says how to get it") from error
        finally:
            os.close(reader)
        threading.Thread(target=_write, args=(os.dup(self._hold), script), daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the client has left by itself. Popen's own wait can keep its lock for ever after a Ctrl-C."""
        if self._process.returncode is None:
            try:
                pid, status = os.waitpid(self._process.pid, os.WNOHANG)
            except ChildProcessError:  # collected just before an interrupt
                pid, status = self._process.pid, 0
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode is not None

    @property
    def floods(self) -> bool:
        """Whether it has written more than it may."""
        if not (self._flooded or self._final):
            written = sum(os.fstat(file.fileno()).st_size for file in (self._stdout, self._stderr))
            self._flooded = self._limit.exceeded(written, time.monotonic() - self._begin)
        return self._flooded

    @property
    def output(self) -> bytes:
        """What it has written so far."""
        return self._final[0] if self._final else _content(self._stdout)

    @property
    def complaints(self) -> str:
        """What it has written to its standard error so far."""
        return (self._final[1] if self._final else _content(self._stderr)).decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """Whether the client left in time; one that floods is not waited for."""
        _await(lambda: self.ended or self.floods, seconds)
        return self.ended

    def let_go(self) -> None:
        """End it, the far end first; any thread may."""
        with self._letting_go:
            if not self._final:
                self._end()

    def _end(self) -> None:
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1
        if self.floods or not self.wait(GRACE):  # what floods would fill the disk meanwhile
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            _await(lambda: self.ended, GRACE)
        self._final = (b"", b"") if self.floods else (_content(self._stdout), _content(self._stderr))
        self._close()

    def _close(self) -> None:
        self._stdout.close()
        self._stderr.close()


def _await(condition: Callable[[], bool], seconds: float) -> None:
    begin = time.monotonic()
    while not condition() and (waited := time.monotonic() - begin) < seconds:
        time.sleep(min(max(0.001, waited / 20), LONGEST_PAUSE, seconds - waited))


def environment() -> dict[str, str]:
    """Ours, with messages that can be told apart in any language."""
    return {**os.environ, "LC_ALL": "C"}


def first_words(text: str, otherwise: str) -> str:
    """The first line that says something: a command's reason, before what follows from it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), otherwise)


def last_words(text: str, otherwise: str = "no reason given") -> str:
    """The last line that says something: a connection's reason, after its banner and its warnings."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), otherwise)


def _files() -> tuple[IO[bytes], IO[bytes]]:
    return tempfile.TemporaryFile(), tempfile.TemporaryFile()


def _content(file: IO[bytes]) -> bytes:
    """All of it, whatever the writer's place in it: parent and child share that."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _write(handle: int, script: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(handle, "wb") as stream:
        stream.write(script)
