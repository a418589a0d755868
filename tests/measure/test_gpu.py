"""NVIDIA's GPUs while they are timed: a stand-in for `nvidia-smi`, and the real one where there is a GPU."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgekd.devices import Device, open_device
from edgekd.measure.facts import machine_facts
from edgekd.measure.gpu import HELD_BACK, Gpu
from edgekd.measure.telemetry import watch

Install = Callable[..., Path]
IDLE, AT_WORK = "0, 0, 210, 1980, 35, 70.00, 0x0000000000000001", "0, 80, 1755, 1980, 61, 400.00, 0x0000000000000004"


@pytest.fixture
def device() -> Iterator[Device]:
    with closing(open_device("local:")) as opened:
        yield opened


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`nvidia_smi(before, then…, knows=…)`: answers once, and again and again beside; its processes."""

    def install(before: str, *then: str, knows: str = "clocks_throttle_reasons.active") -> Path:
        lines = " ".join(f"'{line}'" for line in then)
        (tmp_path / "nvidia-smi").write_text(
            f"""#!/bin/sh
echo $$ >>{tmp_path}/pids
case "$*" in *{knows}*) ;; *) echo 'Field is not a valid field to query.'; exit 2 ;; esac
case "$*" in *-lms*) while :; do printf '%s\\n' {lines}; sleep 0.05; done ;; esac
printf '%s\\n' '{before}'
"""
        )
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path / "pids"

    return install


def watched(device: Device, seconds: float = 0.3) -> Gpu | None:
    with watch(device) as seen:
        time.sleep(seconds)
    assert seen.telemetry is not None
    assert seen.telemetry.throttled or not (seen.telemetry.gpu and seen.telemetry.gpu.capped)
    return seen.telemetry.gpu


def test_clock_and_power_are_those_of_a_gpu_at_work(device: Device, nvidia_smi: Install) -> None:
    nvidia_smi(IDLE, AT_WORK)
    found = watched(device)
    assert found is not None
    assert found.samples >= 3
    assert (found.frequency_mhz, found.max_frequency_mhz, found.power_w) == (1755, 1980, 400)
    assert (found.temperature_before, found.temperature_highest) == (35, 61)
    assert found.busy == pytest.approx(0.8 * (found.samples - 1) / found.samples)  # the first one was idle
    assert found.capped == ("power cap",)
    assert not found.missing


def test_what_an_idle_gpu_says_of_its_clock_is_no_throttling(device: Device, nvidia_smi: Install) -> None:
    nvidia_smi(IDLE, IDLE)
    found = watched(device)
    assert found is not None
    assert (found.capped, found.busy) == ((), 0)


@pytest.mark.parametrize("knows", ["clocks_throttle_reasons.active", "clocks_event_reasons.active"])
def test_old_and_new_drivers_are_asked_by_their_own_words(device: Device, nvidia_smi: Install, knows: str) -> None:
    nvidia_smi(AT_WORK, AT_WORK, knows=knows)
    found = watched(device)
    assert found is not None
    assert found.capped == ("power cap",)


def test_of_two_gpus_the_one_at_work_counts(device: Device, nvidia_smi: Install) -> None:
    other = AT_WORK.replace("0, 80, 1755", "1, 90, 1500").replace("0004", "0020")
    nvidia_smi(IDLE, IDLE, other)
    found = watched(device)
    assert found is not None
    assert (found.frequency_mhz, found.capped) == (1500, ("heat",))


def test_what_a_card_does_not_know_is_missing_with_its_reason(device: Device, nvidia_smi: Install) -> None:
    line = "0, 80, 1755, 1980, 61, [N/A], [Not Supported]"
    nvidia_smi(line, line)
    found = watched(device)
    assert found is not None
    assert (found.power_w, found.capped) == (None, None)
    assert found.missing.keys() == {"power_w", "capped"}


@pytest.mark.parametrize("words", ["No devices were found", "Failed to initialize NVML: Driver/library mismatch"])
def test_a_driver_that_finds_no_gpu_is_none(device: Device, nvidia_smi: Install, words: str) -> None:
    nvidia_smi(words, words)
    assert watched(device, seconds=0) is None


def test_no_process_stays_when_the_watching_is_over(device: Device, nvidia_smi: Install) -> None:
    pids = nvidia_smi(AT_WORK, AT_WORK)
    assert watched(device) is not None
    ids = pids.read_text().split()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() for pid in ids):
        assert time.monotonic() < deadline, "nvidia-smi runs on"
        time.sleep(0.02)
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("said", "gpu", "driver"),
    [
        ("NVIDIA H100 80GB HBM3, 580.95.05", "NVIDIA H100 80GB HBM3", "580.95.05"),
        ("NVIDIA L4, 550.1\nNVIDIA A2, 550.1", "NVIDIA A2 + NVIDIA L4", "550.1"),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver, so to say", None, None),
    ],
)
def test_a_gpu_is_part_of_what_a_machine_is(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, gpu: str | None, driver: str | None
) -> None:
    """Rows from two GPUs are not compared, although the processor beside them may be the same."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    machine = machine_facts(device)
    assert (machine.gpu, machine.gpu_driver) == (gpu, driver)
    assert machine.identity[0] == (f"{machine.cpu}, {gpu}" if gpu else machine.cpu)
    assert {"gpu", "gpu_driver"} <= machine.missing.keys() or gpu


@pytest.mark.gpu
def test_a_real_gpu_at_work_tells_its_clock_heat_and_power(device: Device) -> None:
    """`nvidia-smi` itself is asked for the highest clock; half a second of matrix products is work enough to show."""
    torch = pytest.importorskip("torch", reason="torch puts the GPU to work")
    if shutil.which("nvidia-smi") is None or not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here that torch and nvidia-smi see")
    operand = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
    with watch(device) as seen:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            operand @ operand
            torch.cuda.synchronize()
    assert seen.telemetry is not None
    found = seen.telemetry.gpu
    assert found is not None, seen.telemetry.missing
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    highest = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    assert str(int(found.max_frequency_mhz or 0)) in highest
    assert found.samples >= 5, "one each 0.2 s of 3 s, but for the time that nvidia-smi takes to start"
    assert found.frequency_mhz is not None
    assert 0 < found.frequency_mhz <= (found.max_frequency_mhz or 0)
    assert found.busy is not None
    assert found.busy > 0.2
    assert found.temperature_highest is not None
    assert 10 < found.temperature_highest < 110
    assert found.power_w is not None
    assert found.power_w > 20
    assert found.capped is not None, "the driver knows none of the two words for its reasons"
    assert set(found.capped) <= set(HELD_BACK.values())
