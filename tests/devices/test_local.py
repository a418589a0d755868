import os
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekd.devices import open_device
from edgekd.errors import BadInputError, DeviceError, DeviceLostError
from tests.devices.processes import until


@pytest.mark.parametrize("uri", ["", "local", "locale:", "transport:", "serial:/dev/ttyUSB0", "local:somewhere"])
def test_an_unknown_device_is_bad_input(uri: str) -> None:
    with pytest.raises(BadInputError, match="device"):
        open_device(uri)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(BadInputError, match="did you mean 'local:'"):
        open_device("locl:")


def test_runs_pushes_pulls_and_cleans_up(tmp_path: Path) -> None:
    device = open_device("local:")
    try:
        source = tmp_path / "source"
        source.write_text("content")
        finished = device.run(["cp", device.push(source), f"{device.workspace}/copy"], timeout=60)
        device.pull(f"{device.workspace}/copy", tmp_path / "back")
        device.pull(str(tmp_path / "back"), tmp_path / "back")  # already there
        assert finished.code == 0
        assert (tmp_path / "back").read_text() == "content"
        assert device.facts() is None  # its shell tells
    finally:
        device.close()
    assert not Path(device.workspace).exists()


def test_gives_code_and_both_streams() -> None:
    device = open_device("local:")
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    finished = device.run([sys.executable, "-c", script], timeout=30)
    device.close()
    assert (finished.code, finished.stdout, finished.stderr) == (7, "out\n", "err\n")


def test_what_is_not_there_is_a_device_error(tmp_path: Path) -> None:
    device = open_device("local:")
    with pytest.raises(DeviceError, match="cannot run"):
        device.run(["no-such-command"], timeout=60)
    with pytest.raises(DeviceError, match="has no"):
        device.pull("/no/such/file", tmp_path / "x")
    device.close()


def test_a_hung_command_is_killed_with_its_children(tmp_path: Path) -> None:
    device = open_device("local:")
    script = f"(sleep 60; touch {tmp_path}/slept) & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(DeviceError, match=r"no answer within 0\.5 s"):
        device.run(["sh", "-c", script], timeout=0.5)
    device.close()
    assert not (tmp_path / "slept").exists()  # nothing waited for it
    child = int((tmp_path / "pid").read_text())
    assert _ends(child)


def test_closing_in_another_thread_ends_what_runs_and_nothing_runs_after() -> None:
    device = open_device("local:")
    threading.Thread(target=lambda: until(True, "7108") and device.close()).start()
    with pytest.raises(DeviceLostError, match="was closed"):
        device.run(["sleep", "7108"], timeout=60)
    assert until(False, "7108")
    with pytest.raises(DeviceLostError):
        device.run(["true"], timeout=60)


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # dead, its adopted parent has not collected it yet
        time.sleep(0.05)
    return False
