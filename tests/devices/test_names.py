"""Devices by the names that people have: blanks, backslashes, at-signs, IPv6, question marks."""

from pathlib import Path

import pytest

from edgekd.devices import discover, open_device, ssh
from edgekd.devices._address import is_address, parse, spelled

MORE = "product:sdk model:Pixel_9 device:tokay transport_id:1"
ATTACHED = {
    "adb-1A2B3C4D-AbCdEf (2)._adb-tls-connect._tcp": "device",
    "emulator-5554": "device",
    "192.168.0.7:40559": "device",
    "????????????": "device",
    "(no serial number)": "device",
    "usb:1-2": "device",
    "[fe80::1]:5555": "device",
    "with space": "device",
    "with space too": "unauthorized",
    "R5CT": "no permissions (user in plugdev group); see [http://a.com/x]",
    "100%": "offline",
}
SPELLED = {"100%": "100%25"}  # the others are their own spelling


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name which lists as adb 34 does, and whose devices' shells are this machine's."""
    (tmp_path / "plain").write_text("".join(f"{name}\t{state}\n" for name, state in ATTACHED.items()))
    (tmp_path / "long").write_text("".join(f"{name:<22} {state} {MORE}\n" for name, state in ATTACHED.items()))
    program = tmp_path / "adb"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        f"'devices ') echo '* daemon started successfully'; echo 'List of devices attached'; cat {tmp_path}/plain;;\n"
        f"'devices -l') echo 'List of devices attached'; cat {tmp_path}/long;;\n"
        f'-s*) echo "$2" >{tmp_path}/called; shift 4; TMPDIR={tmp_path} exec "$@";;\n'
        "*) exit 1;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_adb_lists_what_is_attached_and_nothing_else(adb: None) -> None:
    rows = {found.uri: found for found in discover() if found.uri.startswith("adb:")}
    assert list(rows) == [f"adb://{SPELLED.get(name, name)}" for name in ATTACHED]
    assert {found.what for found in rows.values()} == {"Pixel 9"}
    states = [found.state for found in rows.values()]
    assert states[:8] == ["ready"] * 8
    assert [state.partition(": ")[0] for state in states[8:]] == ["unauthorized", ATTACHED["R5CT"], "offline"]


@pytest.mark.parametrize("name", [name for name, state in ATTACHED.items() if state == "device"])
def test_each_opens_as_it_is_listed_and_percent_encoded(adb: None, tmp_path: Path, name: str) -> None:
    for uri in (f"adb://{name}", "adb://" + "".join(f"%{ord(letter):02X}" for letter in name)):
        open_device(uri).close()
        assert (tmp_path / "called").read_text() == f"{name}\n"


def test_settings_follow_any_name(adb: None, tmp_path: Path) -> None:
    device = open_device("adb://????????????" + "?python=/usr/bin/python%33")
    device.close()
    assert device.python == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("address", "user", "host", "port"),
    [
        ("pi.local", None, "pi.local", None),
        ("me@192.168.1.20:2222", "me", "192.168.1.20", "2222"),
        ("[fe80::1%25eth0]", None, "[fe80::1%eth0]", None),
        ("[fe80::1%eth0]", None, "[fe80::1%eth0]", None),
        ("me@[2001:db8::1]:22", "me", "[2001:db8::1]", "22"),
        ("DOMAIN\\me@host", "DOMAIN\\me", "host", None),
        ("first.last@corp@jump", "first.last@corp", "jump", None),
        ("my_board", None, "my_board", None),
        ("board (lab)", None, "board (lab)", None),
        ("board%20%28lab%29", None, "board (lab)", None),
        ("host-with-ümlaut", None, "host-with-ümlaut", None),
        ("a%2Fb", None, "a/b", None),
    ],
)
def test_ssh_takes_users_and_hosts_as_people_write_them(
    address: str, user: str | None, host: str, port: str | None
) -> None:
    assert parse(f"ssh://{address}", ssh.ADDRESS, "").parts == {"user": user, "host": host, "port": port}


def test_aliases_are_listed_so_that_they_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["pi", "board (lab)", "DOMAIN_x", "me@work", "a:b", "[x]"]
    config = tmp_path / "config"
    config.write_text("".join(f'Host "{name}"\n' for name in [*names, "$(touch pwned)", "a;b", "-oX"]))
    monkeypatch.setenv(ssh.CONFIG, str(config))
    listed = [found.uri for found in ssh.discover()]
    assert [parse(uri, ssh.ADDRESS, "").parts["host"] for uri in listed] == names
    assert listed == [f"ssh://{spelled(name, '/:?[]@')}" for name in names]
    assert not is_address("ssh://a%3Bb", ssh.ADDRESS)  # what is encoded is looked at, too
