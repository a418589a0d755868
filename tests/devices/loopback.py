"""A real sshd on the loopback interface, with keys, port and configuration of its own: a device without owning one."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.devices.processes import comm, descendants

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


class Loopback:
    """`environment` is what makes ssh know it; the user's own ~/.ssh is neither read nor written.

    `bin` is the first place where the device looks for programs, `temporary` where it keeps temporary files. With
    `megabytes` that is a disk of this size, which takes root.
    """

    uri = "ssh://board"

    def __init__(self, folder: Path, megabytes: int | None = None) -> None:
        self.folder, self.bin, self.temporary = folder, folder / "bin", folder / "tmp"
        self.environment = {"EDGEKD_SSH_CONFIG": str(folder / "ssh_config")}
        self._megabytes = megabytes
        self.bin.mkdir()
        self.temporary.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        self.trust("host")
        variables = f"HOME={folder} TMPDIR={self.temporary} PATH={self.bin}:/usr/bin:/bin"
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nSetEnv {variables}\n"
        )
        self.configure()
        self.start()

    def configure(self, key: str = "user") -> None:
        """The user's side: which key to show."""
        (self.folder / "ssh_config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\nHost *\n  IdentityFile {self.folder}/{key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
        )

    def trust(self, key: str) -> None:
        """The user's side: whom to take for the board."""
        host_key = " ".join((self.folder / f"{key}.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates its privileges
        command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if self._megabytes:
            disk = 'mount -t tmpfs -o "size=$0m,mode=1777" tmp "$1" && shift && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", disk, str(self._megabytes), str(self.temporary), *command]
        with (self.folder / "log").open("w") as log:
            self.server = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        self.stop()
        raise RuntimeError((self.folder / "log").read_text())

    def leftovers(self) -> list[str]:
        """What lies in the folder for temporary files."""
        return sorted(entry.name for entry in self.temporary.iterdir())

    def cut(self) -> None:
        """Pull the plug: the server and all its connections are gone at once."""
        connections = descendants(self.server.pid)
        self.stop()
        for pid in connections:
            if comm(pid) == "sshd":
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.server.kill()
        self.server.wait()
