"""What ssh and adb promise alike, each against its real daemon, each fault on purpose."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, DeviceError, DeviceLostError, DeviceOfflineError, DeviceTimeoutError
from tests.devices.conftest import SHELLS, Board, Kind, Start, boards_of
from tests.devices.processes import eventually, until

HOSTILE = [
    *(
        "a b",
        " ",
        "'",
        '"',
        "`touch pwned`",
        "$(touch pwned)",
        ";touch pwned",
        "&touch pwned&",
        "-rf",
        "--help",
        "*",
        "~",
    ),
    *("\\", "a\nb", "#", "!!", "é", os.fsdecode(b"\xff"), "%s", "{a,b}", "$HOME", ">pwned", "|sh"),
]


shared_board = boards_of(SHELLS)


def test_runs_in_a_private_folder_and_leaves_nothing(device: Device, board: Board, tmp_path: Path) -> None:
    script = "pwd; umask -S; mktemp >/dev/null; echo err >&2; exit 7"
    finished = device.run(["sh", "-c", script], timeout=60)
    mode = device.run(["stat", "-c", "%a", device.workspace], timeout=60)
    assert (finished.code, finished.stdout, finished.stderr) == (7, f"{device.workspace}\nu=rwx,g=,o=\n", "err\n")
    assert mode.stdout == "700\n"
    assert device.facts() is None  # its shell tells
    assert len(board.leftovers()) == 1
    device.close()
    device.close()  # once more does no harm
    assert board.leftovers() == []
    with pytest.raises(DeviceLostError):
        device.run(["true"], timeout=60)


def test_binary_content_comes_back_as_it_was(device: Device, tmp_path: Path) -> None:
    content = os.urandom(300_000) + bytes(range(256)) + b"\r\n\0"
    (tmp_path / "source").write_bytes(content)
    device.pull(device.push(tmp_path / "source"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    with pytest.raises(DeviceError, match="has no /no/such file"):
        device.pull("/no/such file", tmp_path / "back")
    with pytest.raises(BadInputError, match="no such file"):
        device.push(tmp_path / "none")


def test_what_the_device_holds_does_not_travel_again(device: Device, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "model").write_bytes(b"weights" * 1000)
    first = device.push(folder)
    (folder / "manifest").write_text("changed")
    second = device.push(folder)
    inode = ["stat", "-c", "%i %h", f"{first}/deep/model", f"{second}/deep/model"]
    before, after = device.run(inode, timeout=60).stdout.splitlines()
    assert first != second  # a path there means one content for ever
    assert before == after  # the very same file
    assert device.push(folder) == second


def test_nothing_that_is_named_reaches_a_shell(device: Device, board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "$(touch pwned)"
    for name in HOSTILE:
        (folder / name.replace("/", "")).mkdir(parents=True)
        (folder / name / name).write_text(name.encode(errors="replace").decode())
    there = device.push(folder)
    listing = device.run(["find", there, "-type", "f", "-print0"], timeout=60).stdout.rstrip("\0").split("\0")
    expected = {f"{there}/{name}/{name}".encode(errors="replace").decode() for name in HOSTILE}
    assert len(listing) == len(HOSTILE)
    assert {name.replace("�", "?") for name in listing} == expected
    for name in HOSTILE[:8]:
        device.pull(f"{there}/{name}/{name}", tmp_path / "back")
        assert (tmp_path / "back").read_text() == name
    echoed = device.run(["printf", r"%s\0", *HOSTILE], timeout=60).stdout.split("\0")
    assert [word.replace("�", "?") for word in echoed[:-1]] == [n.encode(errors="replace").decode() for n in HOSTILE]
    found = device.run(["find", device.workspace, "-name", "pwned"], timeout=60)
    assert found.stdout == ""


def test_links_out_of_a_folder_and_special_files_stay_here(device: Device, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").symlink_to("../secret")
    with pytest.raises(BadInputError, match="a link out of its folder"):
        device.push(folder)
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInputError, match="not a plain file"):
        device.push(folder)


def test_a_hung_command_ends_with_its_children(device: Device) -> None:
    with pytest.raises(DeviceTimeoutError, match="no answer within 1 s"):
        device.run(["sh", "-c", "sleep 7101 & sleep 7102"], timeout=1)
    assert until(False, "7101")
    assert until(False, "7102")
    assert device.run(["echo", "still here"], timeout=60).stdout == "still here\n"


def test_a_finished_command_leaves_no_children(device: Device) -> None:
    assert device.run(["sh", "-c", "sleep 7103 >/dev/null 2>&1 & true"], timeout=60).code == 0
    assert until(False, "7103")


def test_a_code_that_the_transport_uses_itself_is_the_commands(device: Device) -> None:
    assert device.run(["sh", "-c", "exit 255"], timeout=60).code == 255
    assert device.run(["sh", "-c", "kill -9 $$"], timeout=60).code == 137
    with pytest.raises(DeviceError, match="cannot run no-such-program: not found there"):
        device.run(["no-such-program"], timeout=60)


def test_a_cut_connection_is_loss_and_leaves_no_orphan(own_board: Board) -> None:
    board, device = own_board, open_device(own_board.uri)
    threading.Thread(target=lambda: until(True, "7104") and board.cut()).start()
    with pytest.raises(DeviceLostError, match="was lost"):
        device.run(["sleep", "7104"], timeout=600)
    assert until(False, "7104")
    with pytest.raises(DeviceLostError):
        device.push(Path(__file__))
    device.close()
    assert eventually(lambda: not board.leftovers())
    with pytest.raises(DeviceOfflineError, match="refused|offline"):
        open_device(board.uri)


def test_closing_in_another_thread_ends_what_runs(board: Board) -> None:
    device = open_device(board.uri)
    threading.Thread(target=lambda: until(True, "7107") and device.close()).start()
    with pytest.raises(DeviceLostError, match="was closed"):
        device.run(["sleep", "7107"], timeout=600)
    assert until(False, "7107")
    assert eventually(lambda: not board.leftovers())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_host_leaves_nothing_there_or_here(
    board: Board, how: signal.Signals, tmp_path: Path
) -> None:
    code = "import sys; from edgekd.devices import open_device as o; o(sys.argv[1]).run(['sleep', '7105'], 600)"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    host = subprocess.Popen([sys.executable, "-c", code, board.uri], stderr=subprocess.DEVNULL, env=environment)
    assert until(True, "7105", seconds=60)
    host.send_signal(how)
    assert host.wait(60) != 0
    assert until(False, "7105")
    assert eventually(lambda: not board.leftovers())
    assert eventually(lambda: not any(tmp_path.glob("edgekd-*")))


def test_a_long_name_of_the_folder_for_temporary_files_is_in_nobodys_way(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh's socket has 103 characters at most where paths of sockets have the fewest."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with closing(open_device(board.uri)) as device:
        assert device.run(["echo", "here"], timeout=60).stdout.strip() == "here"


@pytest.mark.slow  # the device gives the host five seconds to end the command itself
def test_a_frozen_host_holds_no_device(board: Board) -> None:
    code = "import sys; from edgekd.devices import open_device as o; o(sys.argv[1]).run(['sleep', '7106'], 2)"
    host = subprocess.Popen([sys.executable, "-c", code, board.uri], stderr=subprocess.DEVNULL)
    assert until(True, "7106", seconds=60)
    host.send_signal(signal.SIGSTOP)
    assert until(False, "7106", seconds=60)
    host.kill()
    host.wait()
    assert eventually(lambda: not board.leftovers())


def test_a_push_that_arrives_damaged_is_refused(device: Device, board: Board, tmp_path: Path) -> None:
    tar = board.bin / "tar"
    tar.write_text(
        '#!/bin/sh\n/bin/tar "$@"\nfor last; do :; done\nfor file in "$last"/*; do printf x >>"$file"; done\n'
    )
    tar.chmod(tar.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "model").write_bytes(b"weights")
    with pytest.raises(DeviceError, match="cannot push model: it arrived damaged"):
        device.push(tmp_path / "model")
    tar.unlink()
    device.pull(device.push(tmp_path / "model"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"weights"


@pytest.mark.parametrize("kind", SHELLS.values(), ids=SHELLS)
def test_a_full_disk_says_so(start: Start, kind: Kind, tmp_path: Path) -> None:
    board = start(kind, megabytes=1)
    device = open_device(board.uri)
    (tmp_path / "model").write_bytes(bytes(3_000_000))
    with pytest.raises(DeviceError, match="cannot push model: no space left there"):
        device.push(tmp_path / "model")
    device.close()
    assert board.leftovers() == []
