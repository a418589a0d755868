"""What only ssh can get wrong."""

import socket
import tempfile
from pathlib import Path

import pytest

from edgekd.devices import open_device
from edgekd.errors import BadInputError, DeviceError, DeviceNotFoundError, DeviceOfflineError, DeviceUnauthorizedError
from tests.devices.loopback import Loopback
from tests.devices.processes import mentioned


@pytest.mark.parametrize(
    "uri",
    [
        *("ssh:", "ssh:board", "ssh://", "ssh://@board", "ssh://board/", "ssh://board:", "ssh://board:x", "ssh:// b"),
        *("ssh://-oProxyCommand=touch pwned", "ssh://-oProxyCommand=touch", "ssh://-l@board", "ssh://user:secret@board"),
        *("ssh://board;touch pwned", "ssh://$(touch pwned)", "ssh://`touch`", "ssh://board\nHost", "ssh://a'b", "ssh://b%n"),
        *("ssh://board?python", "ssh://board?python=", "ssh://board?python=-c", "ssh://board?shell=sh", "ssh://b?python=%0a"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_bad_input(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="expected ssh://"):
        open_device(uri)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_the_device_does_not_know(sshd: Loopback) -> None:
    sshd.configure(key="stranger")
    with pytest.raises(DeviceUnauthorizedError, match=r"Permission denied \(publickey\)"):
        open_device(sshd.uri)


def test_a_host_key_that_the_user_does_not_know(sshd: Loopback) -> None:
    sshd.trust("stranger")
    with pytest.raises(DeviceUnauthorizedError, match="Host key verification failed"):
        open_device(sshd.uri)
    (sshd.folder / "known_hosts").write_text("")
    with pytest.raises(DeviceUnauthorizedError, match="Host key verification failed"):
        open_device(sshd.uri)


def test_nobody_of_that_name(sshd: Loopback) -> None:
    with pytest.raises(DeviceNotFoundError, match="Could not resolve hostname"):
        open_device("ssh://no-such-board.invalid")


def test_nobody_listens(sshd: Loopback) -> None:
    sshd.cut()
    with pytest.raises(DeviceOfflineError, match="refused"):
        open_device(sshd.uri)


@pytest.mark.slow  # ssh gives it five seconds
def test_somebody_listens_and_says_nothing(sshd: Loopback) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(DeviceOfflineError, match="timed out"):
        open_device(f"ssh://127.0.0.1:{mute.getsockname()[1]}")


def test_a_user_and_a_port_of_the_uri_count(sshd: Loopback) -> None:
    with pytest.raises(DeviceUnauthorizedError, match="no-such-user@127.0.0.1"):
        open_device(f"ssh://no-such-user@127.0.0.1:{sshd.port}")


def test_what_the_users_config_opens_is_not_opened(sshd: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config, private = sshd.folder / "ssh_config", sshd.folder / "p"
    forward = f"  LocalForward {port} localhost:1\n  RequestTTY force\n  RemoteCommand false\n  LogLevel QUIET\n"
    config.write_text(f"{config.read_text()}{forward}  ControlMaster auto\n  ControlPersist yes\n")
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    device = open_device(sshd.uri)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert device.run(["echo", "a\nb"], timeout=60).stdout == "a\nb\n"
    assert mentioned(str(private))
    device.close()
    assert not mentioned(str(private))  # no connection persists
    assert list(private.iterdir()) == []


def test_a_shell_that_talks_does_not_disturb(sshd: Loopback) -> None:
    keys = sshd.folder / "authorized_keys"
    keys.write_text('command="echo welcome; echo motd >&2; exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"" ' + keys.read_text())
    device = open_device(sshd.uri)
    assert device.run(["echo", "hello"], timeout=60).stdout.endswith("hello\n")
    assert device.push(Path(__file__)).startswith(device.workspace)
    device.close()


def test_an_account_without_a_shell_is_told(sshd: Loopback) -> None:
    keys = sshd.folder / "authorized_keys"
    keys.write_text('command="echo This account is not available. >&2; exit 1" ' + keys.read_text())
    with pytest.raises(DeviceError, match="gave no shell: This account is not available"):
        open_device(sshd.uri)


def test_an_odd_temporary_folder_is_refused(sshd: Loopback, tmp_path: Path) -> None:
    keys, odd = sshd.folder / "authorized_keys", tmp_path / "a $b"
    odd.mkdir()
    keys.write_text(f'command="TMPDIR=\'{odd}\' exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"" ' + keys.read_text())
    with pytest.raises(DeviceError, match="odd name"):
        open_device(sshd.uri)
    assert list(odd.iterdir()) == []


def test_the_interpreter_is_named_in_the_uri(sshd: Loopback) -> None:
    device = open_device(f"{sshd.uri}?python=/opt/my%20venv/bin/python")
    assert device.python == "/opt/my venv/bin/python"
    with pytest.raises(DeviceError, match=r"cannot run /opt/my venv/bin/python: not found there; .*\?python=PATH"):
        device.run([device.python], timeout=60)
    device.close()
    device = open_device(sshd.uri)
    assert device.python == "python3"
    device.close()


def test_without_ssh_the_doctor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="cannot run ssh: .*edgekd doctor"):
        open_device("ssh://board")
