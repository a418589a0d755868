"""A command on foreign models in a process of its own: what crashes, hangs or grows in a native parser ends there."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from edgekd.reading import reading

try:
    import resource
except ModuleNotFoundError:  # Windows has no limits for a process
    resource = None  # type: ignore[assignment]

COMMANDS = frozenset({"export"})
ENTRY = ("-m", "edgekd")
CONFINED = "EDGEKD_CONFINED"  # set in the process that may die
SECONDS, SECONDS_PER_MB = 60, 10  # of CPU time, to make a model ours: of it and of the samples that it is tried on
BYTES, TIMES = 8 * 2**30, 12  # of memory, and of it for each byte of model and samples
PATIENCE = 3  # seconds that an interrupted process has to clean up
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def wanted(arguments: Sequence[str]) -> bool:
    """Return whether a command line has to do with foreign models, and is not yet confined."""
    command = next((word for word in arguments if not word.startswith("-")), None)
    return command in COMMANDS and CONFINED not in os.environ and resource is not None


def run(arguments: Sequence[str]) -> int:
    """Run the command line in another process, and return its exit code, or 2 where it died, saying how."""
    argv, environment = [sys.executable, *ENTRY, *arguments], {**os.environ, CONFINED: str(os.getpid())}
    child = subprocess.Popen(argv, env=environment)
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        code = child.wait()
    except KeyboardInterrupt:
        return _ended(child, signal.SIGINT)
    except _Signalled as error:
        return _ended(child, error.number)
    for number, handler in before.items():
        signal.signal(number, handler)
    return code if code >= 0 else _told(-code, arguments)


class _Signalled(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def _end(number: int, _: object) -> None:
    """Raise it once: `timeout` sends its signal to the process and to the group that it is in."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        for other in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)
        raise _Signalled(number)


def _ended(child: subprocess.Popen[bytes], number: int) -> int:
    """Let a process clean up, or kill it where native code does not listen; return its exit code."""
    if number != signal.SIGINT:  # which the terminal has sent to both
        child.send_signal(number)
    try:
        code = child.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
        return 128 + number
    return code if code >= 0 else 128 - code


def _told(number: int, arguments: Sequence[str]) -> int:
    from edgekd.terminal import BAD_INPUT, complain

    model = next((word for word in arguments if word.endswith(".onnx")), "the model")
    words = {
        signal.SIGPROF: "importing it took longer than a model of its size may take",
        signal.SIGKILL: "the process that read it was killed, perhaps for want of memory",
    }
    message = words.get(signal.Signals(number), f"the ONNX parser crashed on it ({signal.Signals(number).name})")
    return complain(f"error: {model}: {message}", BAD_INPUT).exit_code


def confine() -> None:
    """Let this process end with the one that started it, if it is a confined one."""
    parent = os.environ.get(CONFINED)
    if parent is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if str(os.getppid()) != parent:  # it died before
            sys.exit(128 + signal.SIGKILL)


@contextmanager
def parsing(path: Path, samples: Path | None, kind: str) -> Iterator[None]:
    """Read a foreign model in this block, as `reading` does; a confined process has limits of time and memory in it."""
    limits = _limited(_sizes(path) + _sizes(samples)) if CONFINED in os.environ else nullcontext()
    with reading(path, kind), limits:
        yield


def _sizes(path: Path | None) -> int:
    """Bytes of a file and of what lies beside it under its name, as ONNX's external data do."""
    if path is None or not path.is_file():
        return 0
    return sum(file.stat().st_size for file in path.parent.glob("*") if file.is_file() and file.stem == path.stem)


@contextmanager
def _limited(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_DATA, (min(BYTES + TIMES * size, physical * 3 // 4), hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_MB * size / 2**20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
