"""Raspberry Pis without owning one: Debian for their processor under qemu-user, behind an sshd of that processor's.

Each is alone in namespaces, where its sshd listens on the loopback interface; ssh gets there by a ProxyCommand, so that
nothing listens outside. It runs as an ordinary user in a root of `tests/devices/install`. What it says of its board,
clock and heat is made up and its board says so: no latency from here tells of a Raspberry Pi.

    python -m tests.devices.emulated pi -- edgekd bench BUNDLE --device ssh://pi
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Self

from tests.devices.namespaces import ROOT, start
from tests.devices.processes import comm, descendants

UNPACKED = ROOT / ".devices"
INSIDE = Path(__file__).with_name("emulated_inside.py")


class Emulated:
    """`environment` is what makes ssh know it. `bin` is the first place where it looks for programs.

    Its disk for temporary files has a size in `megabytes`. As a context manager it sets the environment, too.
    """

    uri: ClassVar[str]
    architecture: ClassVar[str]
    machine: ClassVar[str]
    model: ClassVar[str]
    cpu: ClassVar[str]
    max_mhz: ClassVar[int]

    def __init__(self, folder: Path, megabytes: int = 256) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.environment = {"EDGEKD_SSH_CONFIG": str(folder / "ssh_config")}
        self.bin.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        self.trust("host")
        self.process = start(folder, INSIDE, type(self).__name__, str(folder), str(megabytes), seconds=60)
        self._home = descendants(self.process.pid)[0]
        self.configure()

    def configure(self, key: str = "user") -> None:
        """The user's side: which key to show."""
        inside = ["nsenter", f"--target={self._home}", "--user", "--net", "--preserve-credentials"]
        dial = shlex.join([*inside, sys.executable, "-IS", str(INSIDE.with_name("emulated_dial.py"))])
        name = self.uri.removeprefix("ssh://")
        (self.folder / "ssh_config").write_text(
            f"Host {name} {name}.local\n  User pi\n  ProxyCommand {dial}\n  ProxyUseFdpass yes\n"
            f"  HostKeyAlias board\nHost *\n  IdentityFile {self.folder}/{key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
            "  StrictHostKeyChecking yes\n"
        )

    def trust(self, key: str) -> None:
        """The user's side: whom to take for the board."""
        (self.folder / "known_hosts").write_text(f"board {(self.folder / f'{key}.pub').read_text()}")

    def leftovers(self) -> list[str]:
        """What lies in the folder for temporary files."""
        return sorted(os.listdir(f"/proc/{self._home}/root{self.folder}/root/tmp"))  # noqa: PTH208

    def cut(self) -> None:
        """Pull the cable: sshd and all its connections are gone at once."""
        for pid in self.processes():
            if comm(pid) == "sshd":
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """What runs there."""
        return descendants(self._home)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for name, value in self._before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


class Pi(Emulated):
    """A 64-bit Raspberry Pi 5 with LiteRT, ONNX Runtime and ncnn."""

    uri, architecture, machine, cpu = "ssh://pi", "arm64", "aarch64", "cortex-a76"
    model, max_mhz = "Raspberry Pi 5 Model B Rev 1.0 (emulated)", 2400


class OldPi(Emulated):
    """A 32-bit Raspberry Pi 2 with TFLite 2.14."""

    uri, architecture, machine, cpu = "ssh://oldpi", "armhf", "arm", "cortex-a7"
    model, max_mhz = "Raspberry Pi 2 Model B Rev 1.1 (emulated)", 900


BOARDS: dict[str, type[Emulated]] = {board.__name__: board for board in (Pi, OldPi)}


def main(name: str, separator: str, *command: str) -> int:
    """Run a command to which the board's URI means the board."""
    kind = {board.uri.removeprefix("ssh://"): board for board in BOARDS.values()}[name]
    with tempfile.TemporaryDirectory() as folder, kind(Path(folder)):
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
