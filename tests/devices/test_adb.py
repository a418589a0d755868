"""What only adb can get wrong."""

from pathlib import Path

import pytest

from edgekd.devices import open_device
from edgekd.errors import BadInputError, DeviceError, DeviceNotFoundError, DeviceOfflineError, DeviceUnauthorizedError
from tests.devices.android import Android


@pytest.mark.parametrize(
    "uri",
    [
        *("adb:", "adb:serial", "adb://", "adb://-s", "adb:// serial", "adb://a/b", "adb://serial;touch pwned"),
        *("adb://$(touch pwned)", "adb://a\nb", "adb://%0a", "adb://serial?python=", "adb://serial?x=y"),
    ],
)
def test_what_is_no_address_is_bad_input(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="expected adb://"):
        open_device(uri)
    assert list(tmp_path.iterdir()) == []


def test_nobody_of_that_name(android: Android) -> None:
    open_device(android.uri).close()
    with pytest.raises(DeviceNotFoundError, match=r"no such device; attached: 127\.0\.0\.1:5900"):
        open_device("adb://emulator-5554")
    with pytest.raises(DeviceNotFoundError, match="resolve"):
        open_device("adb://no-such-phone.invalid:5555")


def test_nobody_listens(android: Android) -> None:
    with pytest.raises(DeviceOfflineError, match="refused"):  # which `adb connect` calls a success: rc 0
        open_device("adb://127.0.0.1:7")


@pytest.mark.slow  # adb itself gives it ten seconds
def test_a_phone_that_says_nothing_is_offline(android: Android) -> None:
    with pytest.raises(DeviceOfflineError):
        open_device(android.mute)


def test_a_phone_that_waits_for_its_owner_is_unauthorized(android: Android) -> None:
    with pytest.raises(DeviceUnauthorizedError, match="accept this computer's key"):
        open_device(android.wary)


def test_without_adb_the_doctor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="cannot run adb: .*edgekd doctor"):
        open_device("adb://serial")
