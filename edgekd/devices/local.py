"""This machine as a device: files are used where they are, commands run as subprocesses.

Like any other device it has a shell that holds its folder, so that whatever ends edgekd ends what runs here, too.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import ClassVar

from edgekd.devices import _shell_scripts
from edgekd.devices._address import Address, parse
from edgekd.devices._remote import RemoteDevice
from edgekd.devices.transport import Device, Found
from edgekd.errors import DeviceError

SHELL = "/bin/sh"


class HostClient:
    """What reaches this machine: nothing is in between."""

    def argv(self, *command: str, first: bool = False) -> list[str]:
        """The command itself."""
        return [SHELL if word == "sh" else word for word in command]

    def diagnosis(self, complaints: str) -> DeviceError | None:
        """Nothing is in the way."""
        return None

    def close(self) -> None:
        """Nothing is left."""


class LocalDevice(RemoteDevice):
    """The nearest device. `python` is the interpreter that edgekd itself runs in, unless another one is named.

    Its folder is made in the system's for temporary files, unless another one is named.
    """

    PATHS: ClassVar[re.Pattern[str]] = re.compile(r"/[^\n]+")  # no other program has to read them

    def __init__(
        self, uri: str, python: str = sys.executable, runner: Path | None = None, folder: str | None = None
    ) -> None:
        super().__init__(uri, HostClient(), quote(folder or tempfile.gettempdir()), Address({}, python, runner))

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

    def _script(self, argv: Sequence[str], seconds: float) -> bytes:
        """Where the user is, and as long as we live: a limit of its own is not needed here."""
        return _shell_scripts.attend(self._token, self.workspace, argv)


def open_device(uri: str) -> Device:
    """`local:[?python=PATH|?runner=FOLDER]`; raise BadInputError for another form."""
    address = parse(uri, "local:", "local:", sys.executable)
    return LocalDevice(uri, address.python, address.runner)


def discover() -> list[Found]:
    """This machine."""
    return [Found("local:", "ready", "this machine")]
