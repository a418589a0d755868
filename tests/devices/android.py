"""A real adbd and a real adb server, alone in a network namespace: adbd has no authentication, so nobody else gets in.

adb finds its server by a socket in a private folder (ADB_SERVER_SOCKET). The device's root is this machine's, with
/data/local/tmp of its own, or that of an emulated arm64 phone. Two ports answer as broken phones do.

    with Android(folder, architecture="arm64") as phone: …  # adb knows phone.uri

Run as a program, this file lives in the namespaces.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self
from unittest.mock import patch

from tests.devices import phone
from tests.devices.namespaces import ROOT, bind, loopback_up, mount, run_by_qemu, start
from tests.devices.processes import comm, descendants

UNPACKED = ROOT / ".devices/adbd/usr/lib"  # by tests/devices/install
ADBD, LIBRARIES = UNPACKED / "android-sdk/platform-tools/adbd", UNPACKED / "x86_64-linux-gnu/android"
AUTH, NEW_KEY = int.from_bytes(b"AUTH", "little"), 3
CHROOT = "/usr/sbin/chroot"
Architecture = Literal["amd64", "arm64"]


class Android:
    """`environment` is what makes adb know it. `bin` is the first place where it looks for programs.

    At `mute` somebody takes the call and says nothing; `wary` asks for a key and accepts none.
    """

    uri, mute, wary = "adb://127.0.0.1:5900", "adb://127.0.0.1:5901", "adb://127.0.0.1:5902"

    def __init__(self, folder: Path, megabytes: int = 64, architecture: Architecture = "amd64") -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        self.environment = {"ADB_SERVER_SOCKET": f"localfilesystem:{folder}/adb.sock", "HOME": str(folder)}
        self.process = start(folder, __file__, str(folder), str(megabytes), architecture, seconds=20)
        self._home, *_ = inside = descendants(self.process.pid)
        self._daemon = next(pid for pid in inside if comm(pid) == "adbd")

    def __enter__(self) -> Self:
        """Make adb know it."""
        self._known = patch.dict(os.environ, self.environment)
        self._known.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._known.stop()
        self.stop()

    def leftovers(self) -> list[str]:
        """What lies in the folder for temporary files."""
        return sorted(os.listdir(f"/proc/{self._home}/root{self.folder}/root/data/local/tmp"))  # noqa: PTH208

    def cut(self) -> None:
        """Pull the cable: adbd and its connections are gone at once, adb's server stays."""
        os.kill(self._daemon, signal.SIGKILL)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Phone(Android):
    """The emulated one."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        super().__init__(folder, megabytes, "arm64")


def _this_machine(root: Path) -> None:
    """This machine's root, all but its /data."""
    for entry in Path("/").iterdir():
        if entry.is_symlink():
            (root / entry.name).symlink_to(entry.readlink())
        elif entry.is_dir() and entry.name != "data":
            (root / entry.name).mkdir()
            bind(entry, root / entry.name)


def _live(folder: Path, megabytes: int, architecture: str) -> None:
    root = folder / "root"
    root.mkdir()
    mount("device", root, "tmpfs", "mode=755")
    if architecture == "arm64":
        run_by_qemu("aarch64", folder / "binfmt")
        phone.make_root(root, folder / "bin")
        adbd, environment = phone.ADBD, phone.ENVIRONMENT
    else:
        _this_machine(root)
        adbd, environment = ADBD, {"PATH": f"{folder}/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": str(LIBRARIES)}
    (root / "data/local/tmp").mkdir(parents=True)
    mount("tmp", root / "data/local/tmp", "tmpfs", f"mode=755,size={megabytes}m")
    loopback_up()
    server = ["adb", "-L", f"localfilesystem:{folder}/adb.sock", "server", "nodaemon"]
    subprocess.Popen(server, env={**os.environ, "HOME": str(folder)}, stdin=subprocess.DEVNULL)
    subprocess.Popen([CHROOT, root, adbd], env={**environment, "ADBD_PORT": "5900"}, stdin=subprocess.DEVNULL)
    threading.Thread(target=_take_calls, args=(5901, _say_nothing), daemon=True).start()
    threading.Thread(target=_take_calls, args=(5902, _doubt), daemon=True).start()
    while not (folder / "adb.sock").exists() or not _listens(5900):
        time.sleep(0.02)
    (folder / "ready").touch()
    signal.pause()


def _take_calls(port: int, talk: Callable[[socket.socket], None]) -> None:
    server = socket.create_server(("127.0.0.1", port))
    while True:
        threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()


def _say_nothing(call: socket.socket) -> None:
    while call.recv(65536):
        pass


def _doubt(call: socket.socket) -> None:
    """As a phone whose owner has not answered yet: a challenge for every signature, nothing for a new key."""
    token = struct.pack("<6I", AUTH, 1, 0, 20, 0, AUTH ^ 0xFFFFFFFF) + bytes(20)  # adb's protocol.txt
    while header := call.recv(24, socket.MSG_WAITALL):
        command, kind, _, length, *_ = struct.unpack("<6I", header)
        call.recv(length, socket.MSG_WAITALL)
        if (command, kind) != (AUTH, NEW_KEY):
            call.sendall(token)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    _live(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
