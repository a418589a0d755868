"""A device behind a client program that can start a shell there: all that ssh and adb have in common."""

import hashlib
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from edgekd.devices import _shell_scripts
from edgekd.devices._address import Address
from edgekd.devices._remote_process import (
    FETCHED,
    GRACE,
    SAID,
    Limit,
    RemoteProcess,
    environment,
    first_words,
    last_words,
)
from edgekd.devices._transfer import Transfer, prepare_transfer, write_tar
from edgekd.devices.transport import Finished
from edgekd.errors import DeviceError, DeviceLostError, DeviceTimeoutError
from edgekd.files import write_bytes

OPENING, ASIDE = 30.0, 60.0  # seconds to open a device, and for what is not the command itself
WITHOUT_PYTHON = "name another by ?python=PATH, or do without: install edgekd-runner, or ?runner=FOLDER"
SLOWEST = 200_000  # bytes per second below which a link counts as hung


class Client(Protocol):
    """The program that reaches the device."""

    def argv(self, *command: str, first: bool = False) -> list[str]:
        """Run `command`, words without anything special in them, there; `first` is the one that outlives all others."""
        ...

    def diagnosis(self, complaints: str) -> DeviceError | None:
        """Why the device cannot be reached, read from what the program complained of."""
        ...

    def close(self) -> None:
        """Remove what it left here."""
        ...


class RemoteDevice:
    """One private folder there and the processes started in it; both end with the connection, however that ends.

    `temporary` is what a shell there takes for the folder to make it in.
    """

    PATHS: ClassVar[re.Pattern[str]] = re.compile(r"/[\w./+-]+", re.ASCII)

    def __init__(self, uri: str, client: Client, temporary: str, address: Address) -> None:
        self.uri, self.python, self.runner = uri, address.python, address.runner
        self._client, self._token = client, secrets.token_hex(8)
        self._sent: set[str] = set()
        self._placed: set[str] = set()
        self._running: set[RemoteProcess] = set()
        self._closed = False
        try:
            self._keeper = RemoteProcess(client.argv("sh", first=True), _shell_scripts.keep(self._token, temporary))
        except BaseException:
            client.close()
            raise
        try:
            self.workspace = self._await_folder()
        except BaseException:
            self.close()
            raise

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """Run in the device's folder; a timeout, Ctrl-C or a lost connection also end the command's children."""
        answer, stdout, stderr = self._ask(self._script(argv, timeout), timeout)
        if answer == "missing":
            hint = f"; {WITHOUT_PYTHON}" if argv[0] == self.python else ""
            raise DeviceError(f"{self.uri} cannot run {argv[0]}: not found there{hint}")
        return Finished(int(answer), stdout.decode(errors="replace"), stderr)

    def push(self, path: Path) -> str:
        """Send what the device does not hold yet, checked by its hash once it is there."""
        cargo = prepare_transfer(path)
        if cargo.digest not in self._placed:
            self._send(cargo)
            self._placed.add(cargo.digest)
        return f"{self.workspace}/{cargo.digest}/{cargo.name}"

    def pull(self, remote: str, path: Path) -> None:
        """Fetch, check the hash, and only then write."""
        answer, content, _ = self._ask(_shell_scripts.fetch(self._token, remote), 10 * ASIDE, FETCHED)
        if answer == "absent":
            raise DeviceError(f"{self.uri} has no {remote}")
        if hashlib.sha256(content).hexdigest() != answer:
            raise DeviceError(f"{self.uri}: {remote} arrived damaged")
        write_bytes(path, content)

    def facts(self) -> Mapping[str, object] | None:
        """Its shell tells all."""
        return None

    def close(self) -> None:
        """End what runs there and remove the folder; silent, for a lost device does both by itself."""
        self._closed = True
        for process in (*self._running, self._keeper):
            process.let_go()
        self._client.close()

    def _script(self, argv: Sequence[str], seconds: float) -> bytes:
        """Run a command; the device has a limit of its own, for when nobody can tell it any more."""
        return _shell_scripts.supervise(self._token, self.workspace, argv, seconds + GRACE)

    def _await_folder(self) -> str:
        keeper = self._keeper
        deadline = time.monotonic() + OPENING
        while not (found := self._split(keeper.output)):
            if keeper.ended:
                reason = self._client.diagnosis(keeper.complaints)
                raise reason or DeviceError(f"{self.uri} gave no shell: {last_words(keeper.complaints)}")
            if keeper.floods:
                raise DeviceError(f"{self.uri} writes without end instead of giving a shell")
            if time.monotonic() > deadline:
                raise DeviceTimeoutError(f"{self.uri}: no answer within {OPENING:g} s")
            time.sleep(0.01)
        folder = found[1]
        if not self.PATHS.fullmatch(folder):
            raise DeviceError(f"{self.uri}: its folder for temporary files has an odd name: {folder!r}")
        return folder

    def _ask(self, script: bytes, timeout: float, limit: Limit = SAID) -> tuple[str, bytes, str]:
        """A script's answer, what it wrote before that, and its complaints."""
        self._check_alive()
        process = RemoteProcess(self._client.argv("sh"), script, limit)
        self._running.add(process)
        try:
            self._check_open()  # whoever closed it before that has not seen this one
            in_time = process.wait(timeout)
        finally:
            process.let_go()
            self._running.discard(process)
        self._check_open()
        if process.floods:
            raise DeviceError(f"{self.uri}: what runs there was ended: it wrote more than {limit}")
        if not in_time:
            raise DeviceTimeoutError(f"{self.uri}: no answer within {timeout:g} s")
        found = self._split(process.output)
        if found is None:
            raise self._lost(process.complaints)
        return found[1], found[0], process.complaints

    def _split(self, output: bytes) -> tuple[bytes, str] | None:
        before, marker, after = output.rpartition(f"\n{self._token} ".encode())
        word, end, _ = after.partition(b"\n")
        return (before, word.decode(errors="replace")) if marker and end else None

    def _send(self, cargo: Transfer) -> None:
        missing = {total: cargo.files[name] for name, total in cargo.sums.items() if total not in self._sent}
        complaints = self._stream(missing) if missing else ""
        files = {f"{cargo.digest}/{name}": total for name, total in cargo.sums.items()}
        answer, _, stderr = self._ask(_shell_scripts.place(self._token, self.workspace, missing, files), 10 * ASIDE)
        if answer != "done":
            reasons = {"full": "no space left there", "failed": first_words(stderr, "unknown")}
            reason = reasons.get(answer) or first_words(complaints, "it arrived damaged")
            raise DeviceError(f"{self.uri}: cannot push {cargo.name}: {reason}")
        self._sent.update(missing)

    def _stream(self, files: dict[str, Path]) -> str:
        """Send files into `incoming`; what was complained of. The proof is `place`, which checks them."""
        self._check_alive()
        with tempfile.TemporaryFile() as archive:
            write_tar(archive, files.items())
            timeout = ASIDE + archive.tell() / SLOWEST
            archive.seek(0)
            argv = self._client.argv("tar", "-x", "-o", "-m", "-f", "-", "-C", f"{self.workspace}/incoming")
            try:
                done = subprocess.run(
                    argv, stdin=archive, capture_output=True, env=environment(), timeout=timeout, start_new_session=True
                )
            except subprocess.TimeoutExpired as error:
                raise DeviceTimeoutError(f"{self.uri}: files did not arrive within {timeout:.0f} s") from error
        return done.stderr.decode(errors="replace")

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceLostError(f"{self.uri} was closed")

    def _check_alive(self) -> None:
        self._check_open()
        if self._keeper.ended or self._keeper.floods:
            raise self._lost(self._keeper.complaints)

    def _lost(self, complaints: str) -> DeviceLostError:
        return DeviceLostError(f"{self.uri} was lost: {last_words(complaints, 'the connection broke')}")
