"""What a device tells of itself while it is timed: the real script, on this machine and on made-up ones."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from edgekd.devices import Device, Finished, open_device
from edgekd.measure.snapshot import SCRIPT, readings
from edgekd.measure.telemetry import Telemetry, telemetry, watch
from tests.measure.conftest import Tool
from tests.missing import miss

Files = dict[str, str]
MakeRoot = Callable[[Files], Path]
ENERGY = ("energy_uj", "max_energy_range_uj")
CPU = "sys/devices/system/cpu/cpu"
PI = {
    "proc/uptime": "100.00 50.00",
    f"{CPU}0/cpufreq/scaling_cur_freq": "600000",
    f"{CPU}0/cpufreq/scaling_governor": "powersave",
    f"{CPU}0/cpufreq/cpuinfo_max_freq": "1800000",
    f"{CPU}1/cpufreq/scaling_cur_freq": "1200000",
    f"{CPU}1/cpufreq/cpuinfo_max_freq": "1800000",
    f"{CPU}1/cpufreq/scaling_governor": "ondemand",
    "sys/class/thermal/thermal_zone0/temp": "48300",
    "sys/class/thermal/thermal_zone1/temp": "61200",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
}


@pytest.fixture
def device() -> Iterator[Device]:
    opened = open_device("local:")
    yield opened
    opened.close()


@pytest.fixture
def root(tmp_path: Path) -> MakeRoot:
    def make(files: Files) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content + "\n")
        return tmp_path

    return make


def test_this_machine_tells_what_it_can_and_why_it_cannot_tell_the_rest(device: Device) -> None:
    with watch(device) as watched:
        time.sleep(0.5)
    found = watched.telemetry
    assert found is not None
    assert found.samples >= 2
    assert 0.3 <= found.seconds <= 60
    assert found.steal is not None
    assert 0 <= found.steal <= 1
    optional = {name for name, value in found.model_dump().items() if value is None}
    assert optional == found.missing.keys()


def test_a_raspberry_pi_that_held_back_says_so(device: Device, root: MakeRoot) -> None:
    with watch(device, str(root(PI))) as watched:
        time.sleep(0.1)
    found = watched.telemetry
    assert found is not None
    assert (found.frequency_mhz, found.max_frequency_mhz) == (1200, 1800)
    assert (found.temperature_before, found.temperature_highest) == (61.2, 61.2)
    assert found.capped is True
    assert found.throttled
    assert found.governor_before == found.governor_after == "ondemand, powersave"
    absent = {"steal", "waiting", "memory_waiting", "power_w", "charging", "power_mode", "thermal_status", "gpu"}
    assert found.missing.keys() == absent


def test_what_a_pi_did_before_is_no_throttling_now(device: Device, root: MakeRoot) -> None:
    """0x50000: under-voltage and throttling have occurred since it was started."""
    firmware = {"sys/devices/platform/soc/soc:firmware/get_throttled": "50000"}
    fast = {f"{CPU}1/cpufreq/scaling_cur_freq": "1800000"}
    with watch(device, str(root(PI | firmware | fast))) as watched:
        pass
    assert watched.telemetry is not None
    assert watched.telemetry.capped is False
    assert not watched.telemetry.throttled


def test_a_clock_below_95_percent_of_the_highest_is_throttled() -> None:
    def at(clock: float) -> Telemetry:
        return Telemetry(seconds=1, samples=5, frequency_mhz=clock, max_frequency_mhz=2000)

    assert [at(clock).throttled for clock in (1898, 1902)] == [True, False]


RAILS = {"curr1_input": "2000", "in1_input": "5000", "curr2_input": "500", "in2_input": "4000", "curr3_input": "9"}
SUMS = {"curr4_input": "2500", "in4_input": "20", "name": "ina3221"}  # of the chip: all currents, a shunt's mV


@pytest.mark.parametrize(
    ("files", "watts"),
    [
        (SUMS | RAILS, 12.0),  # 2 A · 5 V + 0.5 A · 4 V; a rail without volts is none
        (SUMS | RAILS | {"in1_label": "VDD_IN", "in2_label": "VDD_SOC"}, 10.0),  # the input feeds the other one
        (RAILS | {"name": "ucsi_source_psy_USBC000:001"}, None),  # a laptop's charger
    ],
)
def test_the_rails_of_a_jetson_add_up_unless_one_is_its_input(
    device: Device, root: MakeRoot, files: Files, watts: float | None
) -> None:
    with watch(device, str(root({f"sys/class/hwmon/hwmon3/{name}": value for name, value in files.items()}))) as seen:
        pass
    assert seen.telemetry is not None
    assert seen.telemetry.power_w == (watts if watts is None else pytest.approx(watts))


def test_the_energy_of_a_whole_laptop_is_not_added_to_its_processors(device: Device, root: MakeRoot) -> None:
    domains = {0: "package-0", 1: "psys"}
    folder = root({f"sys/class/powercap/intel-rapl:{number}/name": name for number, name in domains.items()})
    root({f"sys/class/powercap/intel-rapl:{number}/{entry}": "9" for number in domains for entry in ENERGY})
    ran = device.run(["sh", "-c", SCRIPT, str(folder), "1", str(folder / "stop"), "0.01"], timeout=60)
    assert [len(reading["energy_uj"]) for reading in readings(ran.stdout)] == [1, 1, 1]


@pytest.mark.parametrize(("status", "watts"), [("Discharging", 2.0), ("Charging", None), ("Full", None)])
@pytest.mark.parametrize("name", ["battery", "BAT0"])
def test_a_battery_tells_power_unless_it_is_charged(
    device: Device, root: MakeRoot, name: str, status: str, watts: float | None
) -> None:
    battery = {"status": status, "current_now": "-500000", "voltage_now": "4000000"}
    files = {f"sys/class/power_supply/{name}/{entry}": value for entry, value in battery.items()}
    with watch(device, str(root(files))) as watched:
        pass
    assert watched.telemetry is not None
    assert watched.telemetry.power_w == watts
    assert watched.telemetry.charging is (watts is None)


def test_energy_counters_wrap_each_by_itself() -> None:
    """Package 0 wraps at 10 J and spends 4 + 3 J, package 1 at 20 J and spends 1 + 1: 9 J in 2 s."""
    samples = [(0, 8e6, 3e6), (1, 2e6 - 1, 4e6), (2, 5e6 - 1, 5e6)]
    text = "".join(
        f"snapshot\nuptime {seconds}.00 0\nenergy_uj {first:.0f}\nrange_uj 10000000\n"
        f"energy_uj {second:.0f}\nrange_uj 20000000\n"
        for seconds, first, second in samples
    )
    assert telemetry(text).power_w == pytest.approx(4.5)


def test_a_hypervisor_that_steals_is_caught() -> None:
    """Of 100 ticks 25 were stolen; tasks waited 0.5 s of 1 s."""
    text = (
        "snapshot\nuptime 1.0 0\nticks cpu  10 0 10 70 0 0 0 10 0 0\npressure some avg10=0.0 total=1000\n"
        "snapshot\nuptime 2.0 0\nticks cpu  50 0 15 100 0 0 0 35 7 0\npressure some avg10=0.0 total=501000\n"
    )
    found = telemetry(text)
    assert (found.steal, found.waiting) == (0.25, 0.5)


def test_a_lack_of_memory_is_told_apart_from_one_of_time() -> None:
    """Tasks waited 0.25 s of 2 s for memory."""
    found = telemetry(
        "snapshot\nuptime 1.0 0\nmemory_pressure some avg10=0.0 total=0\n"
        "snapshot\nuptime 3.0 0\nmemory_pressure some avg10=0.0 total=250000\n"
    )
    assert (found.memory_waiting, found.waiting) == (0.125, None)


def test_a_governor_that_changed_meanwhile_shows() -> None:
    found = telemetry("snapshot\ngovernor performance\nsnapshot\ngovernor powersave\n")
    assert (found.governor_before, found.governor_after) == ("performance", "powersave")


@pytest.mark.parametrize("status", [0, 2])
def test_an_android_that_holds_back_says_so(device: Device, root: MakeRoot, tool: Tool, status: int) -> None:
    tool("dumpsys", f"echo 'IsStatusOverride: false'; echo 'Thermal Status: {status}'")
    with watch(device, str(root({}))) as watched:
        pass
    assert watched.telemetry is not None
    assert watched.telemetry.thermal_status == status
    assert watched.telemetry.throttled is bool(status)


def test_a_jetson_tells_its_power_mode_and_the_clock_of_its_gpu(device: Device, root: MakeRoot, tool: Tool) -> None:
    """The GPU's clock is that of the samples in which it computes: here all, at 90 %."""
    gpu = {"cur_freq": "918000000", "max_freq": "1020000000", "device/load": "900"}
    others = {"17000000.gpu": gpu, "1f000000.memory": {"cur_freq": "1", "max_freq": "3000000000"}}
    tool("nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0")
    tool("nvidia-smi", 'echo "0, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"')  # a Jetson's knows nothing of its GPU
    files = {f"sys/class/devfreq/{name}/{key}": value for name, entry in others.items() for key, value in entry.items()}
    with watch(device, str(root(files))) as watched:
        pass
    found = watched.telemetry
    assert found is not None
    assert found.power_mode == "MAXN"
    assert found.gpu is not None
    assert (found.gpu.frequency_mhz, found.gpu.max_frequency_mhz, found.gpu.busy) == (918, 1020, 0.9)
    assert found.gpu.missing.keys() == {"temperature_before", "temperature_highest", "power_w", "capped"}


SHELLS = {
    "dash": (["dash"], None),
    "bash": (["bash", "--posix"], None),
    "busybox": (["busybox", "sh"], "busybox"),
    "android": (["mksh"], "toybox"),  # its shell and its tools
}


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_runs_on_every_shell(name: str, tmp_path: Path, root: MakeRoot) -> None:
    shell, tools = SHELLS[name]
    for program in filter(None, (shell[0], tools)):
        if shutil.which(program) is None:
            miss("devices", f"no {program} here")
    path = tmp_path / "bin"
    path.mkdir()
    for applet in ("sleep", "head", "grep", "timeout", "rm") if tools else ():
        (path / applet).symlink_to(shutil.which(tools) or "")
    (path / "dumpsys").write_text("#!/bin/sh\necho 'Thermal Status: 1'\n")
    (path / "dumpsys").chmod(0o755)
    argv = [shutil.which(shell[0]) or "", *shell[1:], "-c", SCRIPT, str(root(PI)), "3", str(tmp_path / "stop"), "0.05"]
    where = str(path) if tools else f"{path}:{os.environ['PATH']}"
    done = subprocess.run(argv, env={"PATH": where}, capture_output=True, text=True, timeout=60)
    found = telemetry(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (found.samples, found.frequency_mhz, found.thermal_status) == (5, 1200, 1)


def test_silence_is_no_telemetry() -> None:
    assert telemetry("sh: not found\n").missing == {"telemetry": "the device's shell gave none"}


def told(*snapshots: str, seconds: float = 2.0) -> Telemetry:
    """Of snapshots whose lines are parted by semicolons, so many seconds apart."""
    lines = (["snapshot", f"uptime {seconds * i} 0", *text.split("; ")] for i, text in enumerate(snapshots))
    return telemetry("".join(f"{line}\n" for snapshot in lines for line in snapshot))


def test_clocks_and_heat_are_those_of_the_fastest_and_hottest() -> None:
    found = told(
        "frequency_khz 1000000; frequency_khz 800000; max_khz 1500000; max_khz 2000000; zone_mc 40000; zone_mc -1000",
        "frequency_khz 900000; frequency_khz 1800000; zone_mc 70500; zone_mc 20000",
        "frequency_khz 1200000; zone_mc 60000",
    )
    assert (found.frequency_mhz, found.max_frequency_mhz) == (1200, 2000)
    assert (found.temperature_before, found.temperature_highest) == (40, 70.5)
    assert (found.seconds, found.samples) == (4.0, 3)


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ("0 0 0 0 0 0 0 0 0 0", "10 20 30 40 50 60 70 120 9 9", 0.3),
        ("1 1 1 1 1 1 1 1", "1 1 1 1 1 1 1 5", 1.0),
        ("1 1 1 1 1 1 1 1", "1 1 1 1 1 1 1 1", None),
        ("1 1 1 1 1 1 1", "2 2 2 2 2 2 2", None),
    ],
)
def test_stolen_time_is_the_eighth_of_the_ticks(before: str, after: str, share: float | None) -> None:
    assert told(f"ticks cpu {before}", f"ticks cpu {after}").steal == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("totals", "seconds", "share"),
    [(("0", "1000000"), 2.0, 0.5), (("0", "9000000"), 2.0, 1.0), (("0", "1"), 0.0, None), (("0", "many"), 2.0, None)],
)
def test_waiting_is_a_share_of_the_time(totals: tuple[str, str], seconds: float, share: float | None) -> None:
    found = told(*(f"pressure some avg10=0.0 total={total}" for total in totals), seconds=seconds)
    assert found.waiting == share
    assert told("pressure some avg10=0.0 total=5", "x").waiting is None


def test_power_is_a_mean_over_time_of_rails_or_of_a_battery() -> None:
    rails = told("rail_ma 1000; rail_mv 5000; rail_ma 500; rail_mv 2000", "rail_ma 3000; rail_mv 5000")
    assert rails.power_w == pytest.approx((6 + 15) / 2)
    battery = [f"battery Discharging; battery_ua {current}; battery_uv 4000000" for current in (-500000, 1000000)]
    assert told(*battery).power_w == pytest.approx(3.0)
    assert told("battery Discharging; battery_ua 5", "battery Discharging; battery_uv 5").power_w is None
    assert told(battery[0], "battery Charging; battery_ua 9; battery_uv 9").charging is True
    assert told("energy_uj 5; range_uj 9", "energy_uj 7; range_uj 9", seconds=0.0).power_w is None
    assert told("energy_uj 5; range_uj 9", "energy_uj 2; range_uj 9").power_w == pytest.approx(7 / 2e6)


@pytest.mark.parametrize(("bits", "capped"), [("0", False), ("1", True), ("2", True), ("8", True), ("f0010", False)])
def test_the_lowest_four_bits_say_that_a_pi_holds_back_now(bits: str, capped: bool) -> None:
    assert told("capped 0", f"capped {bits}").capped is capped


def test_a_device_is_watched_until_the_block_ends_and_no_file_stays(device: Device) -> None:
    asked: list[tuple[str, float | None]] = []
    run = device.run

    def recording(argv: Sequence[str], timeout: float | None = None) -> Finished:
        asked.append((argv[0], timeout))
        return run(argv, timeout)

    device.run = recording
    with watch(device) as watched:
        time.sleep(0.1)
    assert watched.telemetry is not None
    assert asked == [("sh", 14_400), ("touch", 60), ("rm", 60)]  # as long again as a watch may last
    assert not (Path(device.workspace) / "watched").exists()
