"""A process in namespaces of its own: how it is put there, and what it does there first."""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "--kill-child"]
ROOT = Path(__file__).parents[2]
SIOCSIFFLAGS, IFF_UP_RUNNING, MS_BIND_REC = 0x8914, 0x41, 0x5000
# binfmt_misc's (kernel's admin-guide): an ELF header up to its machine's number, of a program, whether it is
# position-independent or not; F opens qemu now, so that it need not lie in the device's root.
ELF = {"aarch64": (2, 0xB7), "arm": (1, 0x28)}
HEADER, HEADER_MASK = b"\x7fELF%c\x01\x01" + bytes(9) + b"\x02\x00%c\x00", b"\xff" * 7 + bytes(9) + b"\xfe\xff\xff\xff"


def start(folder: Path, script: str | Path, *arguments: str, seconds: float) -> subprocess.Popen[bytes]:
    """Run a script there until it says that it is `ready`, by a file in `folder`; RuntimeError with its log if not."""
    argv = [*NAMESPACES, sys.executable, str(script), *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    deadline = time.monotonic() + seconds
    while not (folder / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError((folder / "log").read_text())
        time.sleep(0.02)
    return process


def loopback_up() -> None:
    """Let 127.0.0.1 work in a new network namespace."""
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def mount(source: object, target: object, kind: str = "", data: str = "", flags: int = 0) -> None:
    """mount(2); OSError that names the target."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(str(source).encode(), str(target).encode(), kind.encode(), flags, data.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"mount {target}: {os.strerror(error)}")


def bind(source: Path, target: Path) -> None:
    """Show a file or folder a second time, with all that is mounted in it."""
    mount(source, target, flags=MS_BIND_REC)


def run_by_qemu(machine: str, folder: Path) -> None:
    """Let this user namespace, and no other, run programs of a foreign machine (Linux 6.7 and later)."""
    folder.mkdir()
    mount("binfmt_misc", folder, "binfmt_misc")
    header = HEADER % ELF[machine]
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in text) for text in (header, HEADER_MASK))
    (folder / "register").write_text(f":{machine}:M::{magic}:{mask}:/usr/bin/qemu-{machine}-static:F")
