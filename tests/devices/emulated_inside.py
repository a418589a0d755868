"""The inside of an emulated board: a program that lives in its namespaces."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.devices.cores import write_identity
from tests.devices.emulated import BOARDS, UNPACKED, Emulated
from tests.devices.namespaces import bind, loopback_up, mount, run_by_qemu

MS_RDONLY, MS_REMOUNT, MS_BIND = 0x1, 0x20, 0x1000
OURS = "/emulated"  # there, qemu looks first for a file to open: the only way to a new one in /proc
USER, CORES = 1000, len(os.sched_getaffinity(0))
VENV = "home/pi/edgekd"  # where docs/devices.md makes one
BYTECODE = "/var/cache/python"  # all boards of a kind share it: half the time that an import takes


def show(source: Path, target: Path, flags: int = 0) -> None:
    """Bind-mount a folder or file to a place that need not be there yet; `flags` are mount(2)'s."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir() if source.is_dir() else target.touch()
    bind(source, target)
    if flags:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | flags)


def make_root(board: type[Emulated], folder: Path, megabytes: int) -> Path:
    """Debian for the board's architecture, read-only, and everything else of its own."""
    root = folder / "root"
    root.mkdir()
    mount("board", root, "tmpfs", "mode=755")
    unpacked = UNPACKED / board.architecture
    for part in (*("bin", "sbin", "lib"), *(f"usr/{entry.name}" for entry in (unpacked / "usr").iterdir())):
        show(unpacked / part, root / part, MS_RDONLY)
    packages = root / "usr/local/lib/python3.11/dist-packages"
    show(UNPACKED / f"{board.architecture}-wheels", packages, MS_RDONLY)
    for name in ("null", "zero", "random", "urandom"):
        show(Path("/dev", name), root / "dev" / name)
    for name, place in {"bin": "home/pi/bin", "host": "etc/ssh/host", "user.pub": "etc/ssh/authorized_keys"}.items():
        show(folder / name, root / place)
    bytecode = UNPACKED / f"{board.architecture}-bytecode"
    bytecode.mkdir(exist_ok=True)
    show(bytecode, root / BYTECODE.lstrip("/"))
    (root / "proc").mkdir()
    mount("proc", root / "proc", "proc")
    (root / "tmp").mkdir()
    mount("tmp", root / "tmp", "tmpfs", f"mode=1777,size={megabytes}m")
    _write(root, _settings(board))
    _identity(board, root / OURS.lstrip("/"))
    (root / "sys").symlink_to(f"{OURS}/sys")
    (root / VENV / "bin").mkdir()
    (root / VENV / "bin/python").symlink_to("/usr/bin/python3")
    return root


def _settings(board: type[Emulated]) -> dict[str, str]:
    libraries = f"/usr/lib/{'aarch64-linux-gnu' if board.architecture == 'arm64' else 'arm-linux-gnueabihf'}"
    variables = {
        "PATH": "/home/pi/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack",
        "PYTHONPYCACHEPREFIX": BYTECODE,
        **emulation(board),
    }
    return {
        "etc/passwd": f"pi:x:{USER}:{USER}::/home/pi:/bin/sh\n",
        f"{VENV}/pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = true\n",
        "etc/group": f"pi:x:{USER}:\n",
        "etc/ssh/sshd_config": "ListenAddress 127.0.0.1\nHostKey /etc/ssh/host\nPidFile none\nUsePAM no\n"
        "AuthorizedKeysFile /etc/ssh/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nSetEnv {' '.join(f'{key}={value}' for key, value in variables.items())}\n",
    }


def emulation(board: type[Emulated]) -> dict[str, str]:
    """What qemu must find in the environment of every program there."""
    return {"QEMU_CPU": board.cpu, "QEMU_LD_PREFIX": OURS}


def _identity(board: type[Emulated], root: Path) -> None:
    """What Linux on the board would say of it: names and numbers are made up, no clock or heat is measured."""
    write_identity(root, board.cpu, CORES)
    said = {
        "proc/device-tree/model": f"{board.model}\0",
        "sys/class/thermal/thermal_zone0/temp": "48850\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    }
    for core in range(CORES):
        clock = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        said[f"{clock}/scaling_governor"] = "ondemand\n"
        said[f"{clock}/scaling_cur_freq"] = said[f"{clock}/cpuinfo_max_freq"] = f"{board.max_mhz}000\n"
    _write(root, said)


def _write(root: Path, contents: Mapping[str, str]) -> None:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def live(board: type[Emulated], folder: Path, megabytes: int) -> None:
    """Start sshd, say when it listens, and adopt orphans."""
    loopback_up()
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    root = make_root(board, folder, megabytes)
    run_by_qemu(board.machine, folder / "binfmt")
    user = ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}", f"--root={root}", "--wd=/"]
    sshd = subprocess.Popen([*user, "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"], env=emulation(board))
    while not _listens(22):
        if sshd.poll() is not None:
            sys.exit("sshd ended")
        time.sleep(0.02)
    (folder / "ready").touch()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    live(BOARDS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
