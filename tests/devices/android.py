"""A real adbd and a real adb server, alone in a network namespace: adbd has no authentication, so nobody else gets in.

adb finds its server by a socket in a private folder (ADB_SERVER_SOCKET); the device's root is this machine's, with
/data/local/tmp of its own. Run as a program, this file is what lives in the namespaces.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.devices.processes import comm, descendants

UNPACKED = Path(__file__).parents[2] / ".devices/adbd/usr/lib"  # by tests/devices/install
ADBD, LIBRARIES = UNPACKED / "android-sdk/platform-tools/adbd", UNPACKED / "x86_64-linux-gnu/android"
SIOCSIFFLAGS, IFF_UP_RUNNING, MS_BIND_REC = 0x8914, 0x41, 0x5000


class Android:
    """`uri` names it in `environment`. `temporary` is its folder for temporary files, seen from here."""

    uri = "adb://127.0.0.1:5555"

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        self.folder = folder
        self.environment = {"ADB_SERVER_SOCKET": f"localfilesystem:{folder}/adb.sock", "HOME": str(folder)}
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        unshare = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*unshare, sys.executable, __file__, str(folder), str(megabytes)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not (folder / "ready").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.02)

    def cut(self) -> None:
        """Pull the cable: adbd and its connections are gone at once, adb's server stays."""
        for pid in descendants(self.process.pid):
            if comm(pid) == "adbd":
                os.kill(pid, signal.SIGKILL)

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
    environment = {"PATH": os.environ["PATH"], "ADBD_PORT": "5555", "LD_LIBRARY_PATH": str(LIBRARIES)}
    subprocess.Popen(["chroot", folder / "root", ADBD], env=environment, stdin=subprocess.DEVNULL)
    while not (folder / "adb.sock").exists() or not _listens(5555):
        time.sleep(0.02)
    (folder / "ready").touch()
    while True:
        time.sleep(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    _live(Path(sys.argv[1]), int(sys.argv[2]))
