"""Whether what runs on a device is the device, or stands in for it."""

from types import SimpleNamespace

import pytest

from edgekd.devices import Finished
from edgekd.measure.stand_in import may_be_timed, stand_in_on


@pytest.mark.parametrize(
    ("backend", "machine", "times"),
    [("qnn", "aarch64", True), ("qnn", "x86_64", False), ("tflm", "aarch64", False), ("tflite", "x86_64", True)],
)
def test_an_emulator_is_a_stand_in_where_the_chip_is_not(backend: str, machine: str, times: bool) -> None:
    device = SimpleNamespace(run=lambda argv, timeout: Finished(0, f"{machine}\n", ""))
    assert (stand_in_on(device, backend) is None) is times  # type: ignore[arg-type]
    assert may_be_timed(backend) is (backend != "tflm")
