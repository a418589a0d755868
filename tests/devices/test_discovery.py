"""What can be named as a device, without calling anybody."""

import contextlib
from pathlib import Path

import pytest

from edgekd.devices import Found, discover, open_device
from edgekd.devices._ssh_config import host_aliases
from edgekd.errors import DeviceError
from tests.devices.android import Android
from tests.devices.loopback import Loopback


def test_aliases_without_wildcards_in_order_with_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh = tmp_path / ".ssh"
    (ssh / "more").mkdir(parents=True)
    config = ssh / "config"
    config.write_text(
        'Include more/*.conf\nHost pi jetson *.lan !no\n  HostName 10.0.0.2\nHOST="quoted" # a remark\nHost *\n'
        f"# Host remark\nInclude {tmp_path}/absent ~/.ssh/last\nMatch exec false\nHost pi 'unended\n"
    )
    (ssh / "more/b.conf").write_text("Host second\n")
    (ssh / "more/a.conf").write_text("host first\n")
    (ssh / "last").write_text("Host last pi\n")
    assert host_aliases(config) == {
        "first": ssh / "more/a.conf", "second": ssh / "more/b.conf", "pi": config, "jetson": config,
        "quoted": config, "last": ssh / "last",
    }  # fmt: skip
    assert host_aliases(ssh / "none") == {}


def test_a_config_that_includes_itself_ends(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host pi\nInclude {config}\n")
    assert list(host_aliases(config)) == ["pi"]


@pytest.mark.parametrize("pattern", ["a**b", "~nobody-of-that-name/x", "[", "**/**/../**b"])
def test_an_include_that_names_no_files_takes_nothing_with_it(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "config").write_text(f"Include {pattern}\nHost board\n")  # the first one was found by fuzzing
    assert list(host_aliases(tmp_path / "config")) == ["board"]


def test_what_is_listed_can_be_opened(sshd: Loopback, android: Android) -> None:  # so that adb asks its server
    config = sshd.folder / "ssh_config"
    config.write_text(config.read_text() + "Host $(touch)pwned\n")  # no URI, and no shell ever sees it
    listed = [found for found in discover() if found.uri.startswith("ssh:")]
    assert listed == [Found(sshd.uri, "not tried", f"in {config}")]
    open_device(listed[0].uri).close()


def test_adb_lists_what_is_attached_and_why_it_does_not_answer(android: Android) -> None:
    for uri in (android.uri, android.wary):
        with contextlib.suppress(DeviceError):  # one of them is meant to refuse
            open_device(uri).close()
    listed = {found.uri: found.state for found in discover() if found.uri.startswith("adb:")}
    assert listed[android.uri] == "ready"
    assert "accept this computer's key" in listed[android.wary]


def test_without_adb_the_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    listed = {found.uri: found.state for found in discover()}
    assert listed["local:"] == "ready"
    assert "cannot run adb" in listed["adb:"]
