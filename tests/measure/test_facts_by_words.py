"""What is read of a machine's and a GPU's own words, whoever they come from."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from edgekd.devices import Device, Finished
from edgekd.errors import DeviceError
from edgekd.measure.facts import SECTION, Machine, machine_facts
from edgekd.measure.gpu import Gpu
from edgekd.measure.target_check import mismatches
from edgekd.measure.telemetry import telemetry
from edgekd.target import load_target
from tests.measure.test_device_python import machine

CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq/"
PLAIN = {
    "/proc/device-tree/model": "", "/proc/cpuinfo": "", "/proc/meminfo": "", f"{CPUFREQ}scaling_governor": "",
    f"{CPUFREQ}scaling_cur_freq": "", f"{CPUFREQ}cpuinfo_max_freq": "", "/proc/sys/kernel/arch": "", "kernel": "6.6",
    "arch": "aarch64", "binary": "/usr/bin/sh", "cores": "4", "android": "", "gpu": "", "python": "3.11.2",
}  # fmt: skip


class Board:
    """A device whose shell says this."""

    uri, python, runner = "ssh://board", "python3", None

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def facts(self) -> None:
        return None

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        assert timeout == 60
        return Finished(0, "".join(f"\n{SECTION}{name}\n{text}\n" for name, text in self.said.items()), "")


def facts(said: dict[str, str] | None = None, runner: str | None = None) -> Machine:
    board = Board(PLAIN | (said or {}))
    board.runner = runner  # type: ignore[assignment]
    return machine_facts(cast("Device", board))


@pytest.mark.parametrize(
    ("board", "cpuinfo", "name"),
    [
        ("Raspberry Pi 5", "model name : x", "Raspberry Pi 5"),
        ("", "Model : c\nHardware : b\nmodel name : a", "a"),
        ("", "Model : c\nHardware : b\nmodel name :", "b"),
        ("", "Model : c: d", "c: d"),
        ("", "processor : 0", "unknown"),
    ],
)
def test_a_machine_is_called_by_its_board_or_its_cpu(board: str, cpuinfo: str, name: str) -> None:
    assert facts({"/proc/device-tree/model": board, "/proc/cpuinfo": cpuinfo}).cpu == name


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"manufacturer": "Google", "model": "Pixel 9"}, "Google Pixel 9"),
        ({"model": "Pixel 9"}, "Pixel 9"),
        ({}, "unknown"),
    ],
)
def test_a_phone_is_called_by_what_it_says_of_itself(properties: dict[str, str], name: str) -> None:
    said = "\n".join(f"ro.product.{key}: {value}" for key, value in properties.items())
    assert facts({"android": said}).cpu == name


def test_numbers_are_in_mega_and_what_is_not_there_has_its_reason() -> None:
    found = facts({
        "/proc/meminfo": "MemFree: 1 kB\nMemTotal: 8000000 kB", f"{CPUFREQ}scaling_cur_freq": "1500500",
        f"{CPUFREQ}cpuinfo_max_freq": "2400000", f"{CPUFREQ}scaling_governor": "ondemand",
        "gpu": "NVIDIA RTX, 580.95.05",
    })  # fmt: skip
    assert (found.memory_mb, found.frequency_mhz, found.max_frequency_mhz) == (8192, 1500.5, 2400)
    assert (found.governor, found.python, found.missing) == ("ondemand", "3.11.2", {})
    bare = facts({f"{CPUFREQ}scaling_cur_freq": "<unknown>", "python": ""})
    assert bare.missing == {
        "memory_mb": "no /proc/meminfo here", "python": "no python here",
        "governor": f"no {CPUFREQ}scaling_governor here", "frequency_mhz": f"no {CPUFREQ}scaling_cur_freq here",
        "max_frequency_mhz": f"no {CPUFREQ}cpuinfo_max_freq here", "gpu": "no nvidia-smi that works here",
        "gpu_driver": "no nvidia-smi that works here",
    }  # fmt: skip


def test_a_runner_needs_no_python() -> None:
    found = facts(runner="/runner")
    assert (found.python, found.missing["python"]) == (None, "its runner needs none")


@pytest.mark.parametrize("key", ["flags", "Features"])
def test_of_a_cpu_its_interesting_features_and_parts_are_kept_once(key: str) -> None:
    core = f"CPU part\t: 0xd0b\n{key} : sse2 i8mm asimd fp\n"
    found = facts({"/proc/cpuinfo": core + "CPU part : 0xd05\n" + core})
    assert (found.flags, found.parts) == (("asimd", "i8mm"), ("0xd05", "0xd0b"))


@pytest.mark.parametrize(
    ("said", "gpu", "driver"),
    [
        ("NVIDIA B, 580.95\nNVIDIA A, 580.95", "NVIDIA A + NVIDIA B", "580.95"),
        ("NVIDIA-SMI has failed, or so", None, None),
        ("", None, None),
    ],
)
def test_gpus_are_named_in_one_order(said: str, gpu: str | None, driver: str | None) -> None:
    found = facts({"gpu": said, "/proc/cpuinfo": "model name : c"})
    assert (found.gpu, found.gpu_driver) == (gpu, driver)
    assert found.identity == (f"c, {gpu}" if gpu else "c", "aarch64", 4)


@pytest.mark.parametrize(
    ("said", "emulated"),
    [
        ({}, False),
        ({"/proc/sys/kernel/arch": "aarch64"}, False),
        ({"/proc/sys/kernel/arch": "x86_64"}, True),
        ({"/proc/sys/kernel/arch": "x86_64", "arch": "i686"}, False),
        ({"/proc/sys/kernel/arch": "aarch64", "arch": "x86_64"}, True),
        ({"binary": "/usr/bin/qemu-aarch64"}, True),
        ({"binary": "qemu-arm"}, True),
        ({"binary": "/opt/qemu-tools/sh"}, False),
        ({"/proc/cpuinfo": "model name : QEMU Virtual CPU version 2.5+"}, True),
        ({"/proc/cpuinfo": "model name : AMD EPYC"}, False),
        ({"android": "ro.kernel.qemu: 1"}, True),
        ({"android": "ro.kernel.qemu: 0"}, False),
    ],
)
def test_an_emulator_is_told_by_its_words(said: dict[str, str], emulated: bool) -> None:
    assert facts(said).emulated is emulated


def test_a_machine_that_was_told_before_emulators_were_found_out_is_none() -> None:
    assert machine().emulated is False


@pytest.mark.parametrize("said", [{"cores": ""}, {"cores": "many"}])
def test_a_device_that_does_not_count_its_cores_is_lost(said: dict[str, str]) -> None:
    with pytest.raises(DeviceError, match="^ssh://board did not say what machine it is"):
        facts(said)


def test_a_device_that_says_nothing_is_lost() -> None:
    with pytest.raises(DeviceError, match="did not say what machine it is"):
        machine_facts(cast("Device", Board({})))


def gpu(*lines: str, before: str = "snapshot\nuptime 1 0\n") -> Gpu | None:
    return telemetry(before + "".join(f"{line}\n" for line in lines)).gpu


def test_a_card_at_work_tells_its_clock_power_and_what_holds_it_back() -> None:
    found = gpu(
        "nvidia 0, 0, 210, 1980, 35, 70.0, 0x0000000000000020",  # idle: neither clock nor heat count
        "nvidia 0, 80, 1700, 1980, 61, 400.0, 0x0000000000000004",
        "nvidia 0, 40, 1800, 2000, 60, 300.0, 0x0000000000000001",
        "nvidia 0, 100, 1750, 1980, 55, 350.0, 0x0000000000000088",
        "nvidia 0, 100, broken",
    )
    assert found is not None
    assert (found.samples, found.busy, found.frequency_mhz, found.max_frequency_mhz) == (4, 0.55, 1750, 2000)
    assert (found.temperature_before, found.temperature_highest, found.power_w) == (35, 61, 350)
    assert found.capped == ("power cap", "hardware slowdown", "power brake")
    assert found.missing == {}


def test_the_card_that_worked_most_counts_and_an_idle_one_tells_all_its_samples() -> None:
    lines = ["nvidia 0, 10, 1000, 2000, 40, 50, 0x0", "nvidia 1, 20, 1500, 2000, 50, 60, 0x0"] * 2
    busiest, idle = gpu(*lines), gpu("nvidia 0, 0, 300, 2000, 30, 20, 0x0", "nvidia 0, 0, 200, 2000, 31, 10, 0x0")
    assert busiest is not None
    assert idle is not None
    assert (busiest.frequency_mhz, busiest.busy, busiest.samples) == (1500, 0.2, 2)
    assert (idle.frequency_mhz, idle.busy, idle.power_w, idle.capped) == (250, 0, 15, ())


@pytest.mark.parametrize("bit", range(12))
def test_each_reason_that_nobody_chose_has_its_bit(bit: int) -> None:
    """Bits of NVML's reasons; 1 is idle, 2 a clock that somebody set."""
    told = {2: "power cap", 3: "hardware slowdown", 5: "heat", 6: "heat (hardware)", 7: "power brake"}
    found = gpu(f"nvidia 0, 50, 1000, 2000, 40, 50, {1 << bit:#018x}")
    assert found is not None
    assert found.capped == ((told[bit],) if bit in told else ())


def test_what_a_card_does_not_tell_is_missing() -> None:
    found = gpu("nvidia 0, [N/A], 300, [N/A], [N/A], [N/A], [N/A]")
    assert found is not None
    absent = {"busy", "max_frequency_mhz", "temperature_before", "temperature_highest", "power_w", "capped"}
    assert found.missing == dict.fromkeys(absent, "nvidia-smi does not tell it of this card")
    assert gpu("nvidia 0, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]") is None
    assert gpu() is None


def test_of_a_devfreq_gpu_the_clock_while_it_computes_counts() -> None:
    lines = [
        f"gpu_hz {clock}\ngpu_max_hz {most}\ngpu_load {load}"
        for clock, most, load in ((3e8, 1e9, 0), (8e8, 9e8, 500), (9e8, 9e8, 1000))
    ]
    found = gpu(before="".join(f"snapshot\n{line}\n".replace(".0", "") for line in lines))
    assert found is not None
    assert (found.samples, found.busy, found.frequency_mhz, found.max_frequency_mhz) == (3, 0.5, 850, 1000)
    assert found.missing == dict.fromkeys(
        ("temperature_before", "temperature_highest", "power_w", "capped"), "Linux's devfreq does not tell it"
    )


@pytest.mark.parametrize(
    ("told", "doubts"),
    [
        ({"cores": 6, "memory_mb": 6400}, []),  # four fifths of 8 GB
        ({"cores": 6, "memory_mb": 6399}, ["6.4 of 8 GB"]),
        ({"cores": 5, "memory_mb": None}, ["5 of 6"]),
        ({"cores": 7}, ["7 instead of 6"]),
        ({"cores": 6, "parts": ("0xd42", "0xd03")}, []),
        ({"cores": 6, "parts": ("0xd03", "0xd0b")}, ["Cortex-A53, Cortex-A76"]),
        ({"cores": 6, "parts": ("0xfff",)}, []),
        ({"cores": 6, "flags": ()}, None),
    ],
)
def test_a_device_is_held_against_what_its_target_says(told: dict[str, Any], doubts: list[str] | None) -> None:
    target = load_target("jetson-orin-nano")
    features = tuple(feature.split("|")[0] for feature in target.facts.isa)
    found = [found for _, found, _ in mismatches(machine(**{"flags": features, **told}), target)]
    assert found == (doubts if doubts is not None else [f"lacks {feature}" for feature in target.facts.isa])
