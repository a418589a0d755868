"""However edgekd is ended, nothing of what it ran on this machine stays behind."""

import os
import signal
import sys
from pathlib import Path

import pytest

from edgekd.devices import open_device
from edgekd.errors import DeviceError
from tests.devices.processes import eventually, mentioned, until
from tests.measure.bundles import make_bundle
from tests.small_run import start

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", "onnxruntime")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_no_runner_and_no_folder_outlives_a_command(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "a folder"
    temporary.mkdir()
    command = start("bench", bundle, "--seconds", 3600, env={"TMPDIR": str(temporary)})
    try:
        assert eventually(lambda: mentioned("--seconds=3600.0") and any(temporary.glob("edgekd-*")), 60)
        command.send_signal(number)
        code = command.wait(30)
    finally:
        command.kill()
    assert code in ((-number, 130) if number in (signal.SIGINT, signal.SIGKILL) else (130,))
    assert eventually(lambda: not mentioned("--seconds=3600.0"))
    assert eventually(lambda: not any(temporary.glob("edgekd-*")))


def test_a_command_that_left_the_others_ends_with_them() -> None:
    device = open_device("local:")
    device.run(["sh", "-c", "sleep 7211 & exit 0"], timeout=30)
    assert until(False, "7211")
    device.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_floods_is_ended(stream: str) -> None:
    device = open_device("local:")
    script = f"import sys\nwhile True: sys.{stream}.write('y' * 10**6)"
    with pytest.raises(DeviceError, match="it wrote more than 32 MB per second, or 1000 MB in all"):
        device.run([sys.executable, "-c", script, "7212"], timeout=120)
    assert until(False, "7212")
    device.close()


def test_a_command_runs_where_the_user_is_with_the_users_own_rights(tmp_path: Path) -> None:
    device = open_device("local:")
    said = device.run(["sh", "-c", "pwd; umask"], timeout=30).stdout.split()
    before = os.umask(0o77)
    os.umask(before)
    assert (said[0], int(said[1], 8)) == (str(Path.cwd()), before)
    device.close()
