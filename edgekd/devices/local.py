"""This machine as a device: files are used where they are, commands run as subprocesses."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekd.devices._address import parse
from edgekd.devices.transport import Device, Finished, Found
from edgekd.errors import DeviceError, DeviceLostError, DeviceTimeoutError


class LocalDevice:
    """The nearest device. `python` is the interpreter that edgekd itself runs in, unless another one is named."""

    def __init__(self, uri: str, python: str = sys.executable, runner: Path | None = None) -> None:
        self.uri, self.python, self.runner = uri, python, runner
        self._folder = tempfile.TemporaryDirectory(prefix="edgekd-")
        self.workspace = self._folder.name
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """Run in a session of its own, so that a timeout or Ctrl-C also ends the command's children."""
        process = self._start(argv)
        try:
            self._check_open()
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException as error:
            _kill_session(process)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise DeviceTimeoutError(f"{self.uri}: no answer within {timeout:g} s") from error
            raise
        finally:
            self._running.discard(process)
        self._check_open()
        return Finished(process.returncode, stdout, stderr)

    def push(self, path: Path) -> str:
        """The path itself: nothing has to travel."""
        return str(path.resolve())

    def pull(self, remote: str, path: Path) -> None:
        """Copy, unless it is already there."""
        try:
            if Path(remote).resolve() != path.resolve():
                shutil.copyfile(remote, path)
        except OSError as error:
            raise DeviceError(f"{self.uri} has no {remote}: {error.strerror}") from error

    def facts(self) -> dict[str, str]:
        """The host's name is left out: results are published."""
        return {"transport": "local", "system": platform.system()}

    def close(self) -> None:
        """End what runs and remove the workspace."""
        self._closed = True
        for process in tuple(self._running):
            _kill_session(process)
        self._folder.cleanup()

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            process = subprocess.Popen(
                argv, stdin=null, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace", start_new_session=True
            )
        except OSError as error:
            raise DeviceError(f"{self.uri} cannot run {argv[0]}: {error.strerror}") from error
        self._running.add(process)
        return process

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceLostError(f"{self.uri} was closed")


def _kill_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def open_device(uri: str) -> Device:
    """`local:[?python=PATH|?runner=FOLDER]`; raise BadInputError for another form."""
    address = parse(uri, "local:", "local:", sys.executable)
    return LocalDevice(uri, address.python, address.runner)


def discover() -> list[Found]:
    """This machine."""
    return [Found("local:", "ready", "this machine")]
