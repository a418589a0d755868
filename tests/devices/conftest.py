"""Devices that nobody has to own. What is missing skips with the reason, or fails where EDGEKD_REQUIRE_DEVICES=1."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekd.devices import Device, open_device
from tests.devices import phone
from tests.devices.android import ADBD, Android, Phone
from tests.devices.emulated import UNPACKED, Emulated, Pi
from tests.devices.loopback import SSHD, Loopback
from tests.devices.namespaces import NAMESPACES
from tests.missing import miss

Board = Loopback | Android | Emulated
Kind = type[Board]
NATIVE: Mapping[str, Kind] = {"ssh": Loopback, "adb": Android}  # this machine's processor
KINDS: Mapping[str, Kind] = {**NATIVE, "pi": Pi}
SHELLS: Mapping[str, Kind] = {**KINDS, "phone": Phone}  # which has no Python
BINFMT = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"
Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """`start(kind, …)`: a board to break, and the environment in which its URI means it."""
    boards: list[Board] = []

    def get(kind: Kind, megabytes: int = 0) -> Board:
        need(kind, disk=bool(megabytes))
        boards.append(kind(tmp_path_factory.mktemp("d"), **({"megabytes": megabytes} if megabytes else {})))
        return _made_known(boards[-1], monkeypatch)

    yield get
    for board in boards:
        board.stop()


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def own_board(request: pytest.FixtureRequest, start: Start) -> Board:
    """One to break."""
    return start(request.param)


def boards_of(kinds: Mapping[str, Kind]) -> Any:
    """A fixture: one board of each kind for all tests."""

    @pytest.fixture(params=kinds.values(), ids=kinds, scope="session")
    def shared_board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
        need(request.param)
        board: Board = request.param(tmp_path_factory.mktemp("d"))
        yield board
        board.stop()

    return shared_board


shared_board = boards_of(KINDS)


@pytest.fixture
def board(shared_board: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    """One that outlives the test."""
    return _made_known(shared_board, monkeypatch)


@pytest.fixture
def device(board: Board) -> Iterator[Device]:
    opened = open_device(board.uri)
    yield opened
    opened.close()


@pytest.fixture
def sshd(start: Start) -> Board:
    return start(Loopback)


@pytest.fixture
def android(start: Start) -> Board:
    return start(Android)


def _made_known(board: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    for name, value in board.environment.items():
        monkeypatch.setenv(name, value)
    return board


def with_python(board: Board) -> str:
    """The URI that also says which interpreter has the runtimes."""
    return board.uri if isinstance(board, Emulated) else f"{board.uri}?python={sys.executable}"


def need(kind: Kind, disk: bool = False) -> None:
    """Skip, or fail, where such a board, or one with a disk of its own, cannot be."""
    if issubclass(kind, Android):
        _need_adb()
    if kind is Phone:
        _need_emulation("aarch64", phone.SYSTEM)
    if issubclass(kind, Emulated):
        _need_emulation(kind.machine, UNPACKED / f"{kind.architecture}-wheels")
    if kind is Loopback:
        _need_ssh(disk)


def _need_ssh(disk: bool) -> None:
    if SSHD is None or shutil.which("ssh") is None:
        miss("devices", "no sshd or no ssh here")
    if disk and (os.geteuid() != 0 or not _succeeds("unshare", "--mount", "true")):
        miss("devices", "a disk of its own takes root and mount namespaces")


def _need_adb() -> None:
    if not ADBD.exists() or shutil.which("adb") is None:
        miss("devices", "no adbd or no adb here")
    if not _succeeds(*NAMESPACES, "true"):
        miss("devices", "no user, network and mount namespaces here")


def _need_emulation(machine: str, root: Path) -> None:
    if not root.exists() or shutil.which(f"qemu-{machine}-static") is None:
        miss("devices", f"no qemu for {machine} or no root for it here")
    if not _succeeds(*NAMESPACES, "true"):
        miss("devices", "no user, network and mount namespaces here")
    if not _succeeds(*NAMESPACES, "sh", "-c", BINFMT):
        miss("devices", "no binfmt_misc for a user namespace here: it takes Linux 6.7")


def _succeeds(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0
