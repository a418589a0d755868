"""A real adbd and a real adb server, alone in a network namespace: adbd has no authentication, so nobody else gets in.

adb finds its server by a socket in a private folder (ADB_SERVER_SOCKET); the device's root is this machine's, with
/data/local/tmp of its own. Two ports answer as broken phones do. Run as a program, this file lives in the namespaces.
"""

import ctypes
import fcntl
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

from tests.devices.processes import comm, descendants

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".devices/adbd/usr/lib"  # by tests/devices/install
ADBD, LIBRARIES = UNPACKED / "android-sdk/platform-tools/adbd", UNPACKED / "x86_64-linux-gnu/android"
_USER = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
NAMESPACES = ["unshare", *_USER, "--net", "--mount", "--pid", "--fork", "--kill-child"]
AUTH, NEW_KEY = int.from_bytes(b"AUTH", "little"), 3
CHROOT = "/usr/sbin/chroot"
SIOCSIFFLAGS, IFF_UP_RUNNING, MS_BIND_REC = 0x8914, 0x41, 0x5000


class Android:
    """`environment` is what makes adb know it. `bin` is the first place where it looks for programs.

    At `mute` somebody takes the call and says nothing; `wary` asks for a key and accepts none.
    """

    uri, mute, wary = "adb://127.0.0.1:5900", "adb://127.0.0.1:5901", "adb://127.0.0.1:5902"

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        self.environment = {"ADB_SERVER_SOCKET": f"localfilesystem:{folder}/adb.sock", "HOME": str(folder)}
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*NAMESPACES, sys.executable, __file__, str(folder), str(megabytes)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not (folder / "ready").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.02)
        self._home, *_ = inside = descendants(self.process.pid)
        self._daemon = next(pid for pid in inside if comm(pid) == "adbd")

    def leftovers(self) -> list[str]:
        """What lies in the folder for temporary files."""
        return sorted(os.listdir(f"/proc/{self._home}/root{self.folder}/root/data/local/tmp"))  # noqa: PTH208

    def cut(self) -> None:
        """Pull the cable: adbd and its connections are gone at once, adb's server stays."""
        os.kill(self._daemon, signal.SIGKILL)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def _up() -> None:
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def _root(root: Path, megabytes: int) -> None:
    """This machine's root with a /data of its own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(*arguments: object) -> None:
        source, target, kind, flags, data = arguments
        if libc.mount(str(source).encode(), str(target).encode(), str(kind).encode(), flags, str(data).encode()):
            raise OSError(ctypes.get_errno(), f"mount {target}")

    root.mkdir()
    mount("device", root, "tmpfs", 0, "mode=755")
    for entry in Path("/").iterdir():
        if entry.is_symlink():
            (root / entry.name).symlink_to(entry.readlink())
        elif entry.is_dir() and entry.name != "data":
            (root / entry.name).mkdir()
            mount(entry, root / entry.name, "", MS_BIND_REC, "")
    (root / "data/local/tmp").mkdir(parents=True)
    mount("tmp", root / "data/local/tmp", "tmpfs", 0, f"mode=755,size={megabytes}m")


def _live(folder: Path, megabytes: int) -> None:
    _up()
    _root(folder / "root", megabytes)
    server = ["adb", "-L", f"localfilesystem:{folder}/adb.sock", "server", "nodaemon"]
    subprocess.Popen(server, env={**os.environ, "HOME": str(folder)}, stdin=subprocess.DEVNULL)
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "ADBD_PORT": "5900", "LD_LIBRARY_PATH": str(LIBRARIES)}
    subprocess.Popen([CHROOT, folder / "root", ADBD], env=environment, stdin=subprocess.DEVNULL)
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
    _live(Path(sys.argv[1]), int(sys.argv[2]))
