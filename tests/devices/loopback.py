"""A real sshd on the loopback interface, with keys, port and configuration of its own: a device without owning one."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.devices.processes import comm, descendants


class Loopback:
    """`uri` names it once EDGEKD_SSH_CONFIG is `config`. The user's own ~/.ssh is neither read nor written."""

    uri = "ssh://board"

    def __init__(self, folder: Path, environment: str = "") -> None:
        self.folder, self.config = folder, folder / "ssh_config"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        (folder / "tmp").mkdir()
        self.temporary = folder / "tmp"
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nSetEnv TMPDIR={self.temporary} {environment}\n"
        )
        self.write_config()
        self.start()

    def write_config(self, key: str = "user", known_hosts: str = "known_hosts") -> None:
        self.config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {self.folder}/{key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/{known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
        )

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates its privileges
        with (self.folder / "log").open("w") as log:
            command = [shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "", "-D", "-e", "-f"]
            self.server = subprocess.Popen(
                [*command, self.folder / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL
            )
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.server.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError((self.folder / "log").read_text())

    def cut(self) -> None:
        """Pull the plug: the server and all its connections are gone at once."""
        connections = descendants(self.server.pid)
        self.server.kill()
        self.server.wait()
        for pid in connections:
            if comm(pid) == "sshd":
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.server.kill()
        self.server.wait()
