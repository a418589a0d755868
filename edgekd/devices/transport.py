"""What a device is to its callers: a way to run a command, a folder to put files in, and a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """A command that ran to its end. A code of 0 is no proof of success: some transports give it for a lost device."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Found:
    """A device that could be opened: `uri` for `--device`, its state as far as it shows without a call, what it is."""

    uri: str
    state: str
    what: str


class Device(Protocol):
    """One device, open until `close`.

    Attributes:
        uri: how the user named it.
        python: the interpreter to run there.
        runner: a program here that measures there in place of run.py, with all in its folder; None: run.py does.
        workspace: a folder there for this session's files, removed by `close`.
    """

    uri: str
    python: str
    runner: Path | None
    workspace: str

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """Run a command; raise DeviceError when it cannot start, DeviceTimeoutError when it took longer (seconds)
        and was killed with its children, DeviceLostError when the connection broke."""
        ...

    def push(self, path: Path) -> str:
        """Make a file or folder available there and return its path there; BadInputError for what cannot travel."""
        ...

    def pull(self, remote: str, path: Path) -> None:
        """Fetch a file; raise DeviceError when it is not there."""
        ...

    def facts(self) -> Mapping[str, object] | None:
        """What a device without a shell tells: fields of `measure.facts.Machine`; None where a shell answers."""
        ...

    def close(self) -> None:
        """End what runs there, from whatever thread, and remove the workspace; afterwards the device counts as lost."""
        ...
