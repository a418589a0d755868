"""A device behind OpenSSH's own client, as the user's ssh_config has it: aliases, keys, jump hosts, host keys.

`ssh://[user@]host[:port]`, with `?python=PATH` or `?runner=FOLDER`. The variable EDGEKD_SSH_CONFIG names another file
than ~/.ssh/config.
"""

import os
import re
import tempfile
from pathlib import Path

from edgekd.devices._address import is_address, parse, spelled
from edgekd.devices._remote import RemoteDevice
from edgekd.devices._remote_process import last_words
from edgekd.devices._ssh_config import host_aliases
from edgekd.devices.local import LocalDevice
from edgekd.devices.transport import Found
from edgekd.errors import DeviceError, DeviceNotFoundError, DeviceOfflineError, DeviceUnauthorizedError

NAME = r"(?:[^%/:?\[\]{}]|%[0-9A-Fa-f]{{2}})+"
ADDRESS = (  # the last @ ends the user, whose name may hold others, and a domain before a backslash
    f"ssh://((?P<user>{NAME.format('')})@)?"
    rf"(?P<host>{NAME.format('@' + chr(92) * 2)}|\[[0-9A-Za-z:.%_-]+\])(:(?P<port>[0-9]{{1,5}}))?"
)
CONFIG = "EDGEKD_SSH_CONFIG"
OPTIONS = (
    *("-T", "-a", "-x"),  # no terminal, no forwarded agent, no forwarded display
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
    *("-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "ControlPersist=no", "-o", "LogLevel=INFO"),
)
LONGEST = 68  # of a folder for a socket, in a folder of our own, whose name ssh makes longer while it binds: 103 in all
TRUST = (
    r"Permission denied \(|Host key verification failed|host key is known|Too many authentication failures"
    "|REMOTE HOST IDENTIFICATION"
)
SILENCE = r"connect to host|Connection (refused|timed out|reset|closed)|kex_exchange_identification"


class SshClient:
    """One connection, which every command shares through a socket in a private folder that goes with this process."""

    def __init__(self, uri: str, user: str | None, host: str, port: str | None) -> None:
        self._uri, self._host = uri, host
        folder = tempfile.gettempdir()
        self._here = LocalDevice("local:", folder=folder if len(folder) <= LONGEST else "/tmp")
        config = os.environ.get(CONFIG)
        self._options = [*OPTIONS, "-S", f"{self._here.workspace}/s"]
        self._options += ["-F", config] if config else []
        self._options += ["-l", user] if user else []
        self._options += ["-p", port] if port else []

    def argv(self, *command: str, first: bool = False) -> list[str]:
        """The first one holds the connection."""
        master = "yes" if first else "no"
        return ["ssh", *self._options, "-o", f"ControlMaster={master}", "--", self._host, *command]

    def diagnosis(self, complaints: str) -> DeviceError | None:
        """OpenSSH's words, in English whatever the user speaks."""
        reason = f"{self._uri}: {last_words(complaints)}"
        if "Could not resolve hostname" in complaints:
            return DeviceNotFoundError(reason)
        if re.search(TRUST, complaints):
            return DeviceUnauthorizedError(f"{reason} (needs non-interactive ssh: a key, and a host key that is known)")
        return DeviceOfflineError(reason) if re.search(SILENCE, complaints) else None

    def close(self) -> None:
        """Remove the socket's folder."""
        self._here.close()


def open_device(uri: str) -> RemoteDevice:
    """Connect; BadInputError for another form, else the DeviceError that says what is in the way."""
    address = parse(uri, ADDRESS, "ssh://[user@]host[:port]")
    user, host, port = (address.parts[part] for part in ("user", "host", "port"))
    client = SshClient(uri, user, str(host).strip("[]"), port)
    return RemoteDevice(uri, client, '"${TMPDIR:-/tmp}"', address)


def discover() -> list[Found]:
    """The aliases of the user's ssh_config; none is called."""
    config = Path(os.environ.get(CONFIG) or Path.home() / ".ssh/config")
    return [
        Found(uri, "not tried", f"in {source}")
        for alias, source in host_aliases(config).items()
        if is_address(uri := f"ssh://{spelled(alias, '/:?[]@')}", ADDRESS)
    ]
