"""A device behind Android's own `adb`: a phone, or whatever else runs adbd.

`adb://serial` as `adb devices` lists it, blanks and all, or `adb://host:port`, which is connected to first; both take
`?python=PATH` and `?runner=FOLDER`. Stock Android has no Python: the runner that ships takes its place.
"""

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from edgekd.devices._address import is_address, parse, spelled
from edgekd.devices._remote import RemoteDevice
from edgekd.devices._remote_process import environment, last_words
from edgekd.devices._runner import shipped_runner
from edgekd.devices.transport import Found
from edgekd.errors import (
    DeviceError,
    DeviceNotFoundError,
    DeviceOfflineError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
)

ADDRESS = r"adb://(?P<serial>[^/]+)"
PATIENCE, CONNECTING = 30.0, 5.0  # seconds: for one answer of adb, and for a new connection to become usable
WAITING = ("offline", "authorizing", "connecting")
STATES: Mapping[str, tuple[type[DeviceError], str]] = {
    "unauthorized": (DeviceUnauthorizedError, "accept this computer's key on its screen"),
    "authorizing": (DeviceUnauthorizedError, "accept this computer's key on its screen"),
    "no permissions": (DeviceUnauthorizedError, "this user may not use it: install android-udev-rules"),
    "offline": (DeviceOfflineError, "plug it in again, or `adb reconnect offline`"),
}


class AdbClient:
    """Commands by way of adb's own server."""

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
        state = _states(self._uri).get(self._serial)
        if state in (None, "offline") and re.fullmatch(r".+:\d+", self._serial):
            said = last_words(_adb(self._uri, "connect", self._serial))
            state = self._state_within(patience=CONNECTING if said.startswith(("connected", "already")) else 0)
            if state is None:
                unknown = re.search(r"resolve|not known|No address", said)
                raise (DeviceNotFoundError if unknown else DeviceOfflineError)(f"{self._uri}: {said}")
        if state is None:
            there = ", ".join(_states(self._uri)) or "none"
            raise DeviceNotFoundError(f"{self._uri}: no such device; attached: {there}")
        if state != "device":
            known = next((STATES[name] for name in STATES if state.startswith(name)), None)
            kind, advice = known or (DeviceOfflineError, "it has to be booted")
            raise kind(f"{self._uri} is {state}: {advice}")

    def _state_within(self, patience: float) -> str | None:
        deadline = time.monotonic() + patience
        while (state := _states(self._uri).get(self._serial)) in WAITING and time.monotonic() < deadline:
            time.sleep(0.1)
        return state


def _states(uri: str) -> dict[str, str]:
    """What is attached, by serial number, and its state: a serial number may hold blanks, and ends with a tab."""
    rows = (line.split("\t", 1) for line in _adb(uri, "devices").split("\n") if "\t" in line)
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
    device = RemoteDevice(uri, client, '"${TMPDIR:-/data/local/tmp}"', address)
    if not address.explicit:
        device.runner = _without_python(device)
    return device


def _without_python(device: RemoteDevice) -> Path | None:
    """The runner that ships for such a processor, where the device has no Python and the runner is installed here."""
    try:
        told = device.run(["sh", "-c", f"command -v {device.python} || uname -m"], PATIENCE).stdout.strip()
    except BaseException:
        device.close()
        raise
    return None if told.endswith(device.python) else shipped_runner(told)


def discover() -> list[Found]:
    """What `adb devices` lists; DeviceError without adb."""
    states, details = _states("adb:"), _adb("adb:", "devices", "-l").split("\n")
    return [
        Found(uri, _readiness(state), _model(next((row for row in details if row.startswith(f"{serial} ")), "")))
        for serial, state in states.items()
        if is_address(uri := f"adb://{spelled(serial, '/')}", ADDRESS)
    ]


def _readiness(state: str) -> str:
    advice = next((words for name, (_, words) in STATES.items() if state.startswith(name)), None)
    return "ready" if state == "device" else f"{state}: {advice}" if advice else state


def _model(more: str) -> str:
    found = re.search(r"\bmodel:(\S+)", more)
    return found[1].replace("_", " ") if found else ""
