"""A device behind Android's own `adb`: a phone, or whatever else runs adbd.

`adb://serial` as `adb devices` lists it, or `adb://host:port`, which is connected to first; both take `?python=PATH`
and, as stock Android has none, `?runner=FOLDER`.
"""

import re
import subprocess
import time
from collections.abc import Mapping

from edgekd.devices._address import parse
from edgekd.devices._leash import environment, last_words
from edgekd.devices._remote import RemoteDevice
from edgekd.devices.transport import Found
from edgekd.errors import (
    DeviceError,
    DeviceNotFoundError,
    DeviceOfflineError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
)

ADDRESS = r"adb://(?P<serial>(?!-)[\w.:-]+)"
ATTACHED = re.compile(r"(?P<serial>\S+)\s+(?P<state>.*?)(?P<more>(\s+\w+:\S+)*)")
PATIENCE, SETTLING = 30.0, 5.0  # seconds: for one answer of adb, and for a new connection to become usable
WAITING = ("offline", "authorizing", "connecting")
STATES: Mapping[str, tuple[type[DeviceError], str]] = {
    "unauthorized": (DeviceUnauthorizedError, "accept this computer's key on its screen"),
    "authorizing": (DeviceUnauthorizedError, "accept this computer's key on its screen"),
    "no permissions": (DeviceUnauthorizedError, "this user may not use it: install android-udev-rules"),
    "offline": (DeviceOfflineError, "plug it in again, or `adb reconnect offline`"),
}


class AdbClient:
    """Commands by way of adb's own server."""

    transport = "adb"

    def __init__(self, uri: str, serial: str) -> None:
        self._uri, self._serial = uri, serial

    def argv(self, *command: str, first: bool = False) -> list[str]:
        """No terminal: it would mix the streams and change what passes through."""
        return ["adb", "-s", self._serial, "shell", "-T", *command]

    def diagnosis(self, complaints: str) -> DeviceError | None:
        """What adb says when a device went between two calls."""
        said = re.search(r"error: (.+)", complaints)
        reason = f"{self._uri}: {said[1] if said else last_words(complaints)}"
        if re.search(r"device '.*' not found", complaints):
            return DeviceNotFoundError(reason)
        known = next((kind for state, (kind, _) in STATES.items() if f"device {state}" in complaints), None)
        return known(reason) if known else None

    def close(self) -> None:
        """Nothing: the server and its connections are the user's."""

    def reach(self) -> None:
        """Connect if need be; raise the DeviceError that names the state in the way, if there is one."""
        state = self._states().get(self._serial)
        if state in (None, "offline") and re.fullmatch(r".+:\d+", self._serial):
            said = last_words(_adb(self._uri, "connect", self._serial))
            state = self._settled(patience=SETTLING if said.startswith(("connected", "already")) else 0)
            if state is None:
                unknown = re.search(r"resolve|not known|No address", said)
                raise (DeviceNotFoundError if unknown else DeviceOfflineError)(f"{self._uri}: {said}")
        if state is None:
            there = ", ".join(self._states()) or "none"
            raise DeviceNotFoundError(f"{self._uri}: no such device; attached: {there}")
        if state != "device":
            known = next((STATES[name] for name in STATES if state.startswith(name)), None)
            kind, advice = known or (DeviceOfflineError, "it has to be booted")
            raise kind(f"{self._uri} is {state}: {advice}")

    def _settled(self, patience: float) -> str | None:
        deadline = time.monotonic() + patience
        while (state := self._states().get(self._serial)) in WAITING and time.monotonic() < deadline:
            time.sleep(0.1)
        return state

    def _states(self) -> dict[str, str]:
        rows = (line.split("\t", 1) for line in _adb(self._uri, "devices").splitlines() if "\t" in line)
        return {serial: state.strip() for serial, state in rows}


def _adb(uri: str, *words: str) -> str:
    """What adb says; its exit code says nothing."""
    try:
        done = subprocess.run(
            ["adb", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=environment(),
            timeout=PATIENCE,
        )
    except OSError as error:
        raise DeviceError(f"{uri}: cannot run adb: {error.strerror}; `edgekd doctor` says how to get it") from error
    except subprocess.TimeoutExpired as error:
        raise DeviceTimeoutError(f"{uri}: adb gave no answer within {PATIENCE:g} s") from error
    return done.stdout


def open_device(uri: str) -> RemoteDevice:
    """Find it; BadInputError for another form, else the DeviceError that says what is in the way."""
    address = parse(uri, ADDRESS, "adb://serial or adb://host:port")
    client = AdbClient(uri, str(address.parts["serial"]))
    client.reach()
    return RemoteDevice(uri, client, '"${TMPDIR:-/data/local/tmp}"', address)


def discover() -> list[Found]:
    """What `adb devices -l` lists; DeviceError without adb."""
    rows = _adb("adb:", "devices", "-l").splitlines()
    attached = (ATTACHED.fullmatch(row.strip()) for row in rows if not row.startswith(("List of", "*")))
    return [
        Found(f"adb://{row['serial']}", _readiness(row["state"]), _model(row["more"]))
        for row in attached
        if row and re.fullmatch(ADDRESS, f"adb://{row['serial']}", re.ASCII)
    ]


def _readiness(state: str) -> str:
    advice = next((words for name, (_, words) in STATES.items() if state.startswith(name)), None)
    return "ready" if state == "device" else f"{state}: {advice}" if advice else state


def _model(more: str) -> str:
    found = re.search(r"\bmodel:(\S+)", more)
    return found[1].replace("_", " ") if found else ""
