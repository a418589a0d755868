"""The state of a device while it is timed: clocks, heat, power, and who else wants the CPU."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from statistics import fmean

from pydantic import Field

from edgekd.devices import Device
from edgekd.errors import DeviceError
from edgekd.measure.device_text import understanding
from edgekd.measure.gpu import Gpu, gpu
from edgekd.measure.snapshot import SCRIPT, Reading, highest, known, middle, numbers, readings, words
from edgekd.schema import Amount, Count, Schema, Share

INTERVAL = 0.2  # seconds between samples
LONGEST = 36_000  # samples after which a watch ends by itself: two hours
SLOW = 0.95  # of the highest frequency; below it a device is throttled
CAPPED_NOW = 0b1111  # a Raspberry Pi's bits for under-voltage, capped frequency, throttling and soft heat limit


class Telemetry(Schema):
    """A device from the first to the last replicate; every None has its reason in `missing`.

    Frequencies are those of the fastest core, in MHz: the median over time, and the highest it could have. Temperature
    is the hottest zone's, in °C. `steal` is the fraction of CPU time that a hypervisor gave to others, `waiting` the
    fraction of time in which some task waited for a CPU, `memory_waiting` for memory. Power is in watts, and the whole
    device's or processor's. `power_mode` is a Jetson's, `thermal_status` Android's: 0 is cool, 1 held back a little, up
    to 6.
    """

    seconds: Amount
    samples: Count
    frequency_mhz: Amount | None = None
    max_frequency_mhz: Amount | None = None
    governor_before: str | None = None
    governor_after: str | None = None
    power_mode: str | None = None
    temperature_before: float | None = None
    temperature_highest: float | None = None
    thermal_status: Count | None = None
    capped: bool | None = None
    steal: Share | None = None
    waiting: Share | None = None
    memory_waiting: Share | None = None
    power_w: Amount | None = None
    charging: bool | None = None
    gpu: Gpu | None = None
    missing: dict[str, str] = Field(default_factory=dict)

    @property
    def throttled(self) -> bool:
        """Whether the device held back: it says so, or its clock stayed below 95 % of the highest."""
        slow = self.frequency_mhz and self.max_frequency_mhz and self.frequency_mhz < SLOW * self.max_frequency_mhz
        return bool(self.capped or self.thermal_status or slow or (self.gpu and self.gpu.capped))


class Watch:
    """Becomes `telemetry` when the watching is over."""

    telemetry: Telemetry | None = None


@contextmanager
def watch(device: Device, root: str = "/") -> Iterator[Watch]:
    """Sample a device while the block runs; a device that cannot be watched is measured all the same."""
    stop, said, watched = f"{device.workspace}/watched", [""], Watch()
    argv = ["sh", "-c", SCRIPT, root, str(LONGEST), stop, str(INTERVAL)]

    def sample() -> None:
        with suppress(DeviceError):
            said[0] = device.run(argv, timeout=2 * LONGEST * INTERVAL).stdout

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        with suppress(DeviceError):
            device.run(["touch", stop], timeout=60)
            thread.join(60)
            device.run(["rm", "-f", stop], timeout=60)
    try:
        with understanding(device.uri, "what it says of its state"):
            watched.telemetry = telemetry(said[0])
    except DeviceError as error:
        watched.telemetry = Telemetry(seconds=0, samples=0, missing={"telemetry": str(error)})


def telemetry(text: str) -> Telemetry:
    """What the script's output says."""
    said = readings(text)
    if not said:
        return Telemetry(seconds=0, samples=0, missing={"telemetry": "the device's shell gave none"})
    first, last = said[0], said[-1]
    seconds = _uptime(last) - _uptime(first)
    found = {
        "frequency_mhz": middle([highest(reading, "frequency_khz", 1e-3) for reading in said]),
        "max_frequency_mhz": highest(first, "max_khz", 1e-3),
        "governor_before": _governor(first),
        "governor_after": _governor(last),
        "power_mode": " → ".join(dict.fromkeys(map(_told, words(said, "power_mode")))) or None,
        "temperature_before": highest(first, "zone_mc", 1e-3),
        "temperature_highest": max(known([highest(reading, "zone_mc", 1e-3) for reading in said]), default=None),
        "thermal_status": max(map(int, filter(str.isdigit, map(_told, words(said, "thermal_status")))), default=None),
        "capped": _capped(said),
        "steal": _steal(first, last),
        "waiting": _waiting(first, last, "pressure", seconds),
        "memory_waiting": _waiting(first, last, "memory_pressure", seconds),
        "power_w": _power(said, seconds),
        "charging": _charging(said),
        "gpu": gpu(said),
    }
    missing = {name: WHERE[name] for name, value in found.items() if value is None}
    return Telemetry.model_validate({"seconds": seconds, "samples": len(said), "missing": missing, **found})


WHERE = {
    "frequency_mhz": "no cpufreq here",
    "max_frequency_mhz": "no cpufreq here",
    "governor_before": "no cpufreq here",
    "governor_after": "no cpufreq here",
    "power_mode": "no nvpmodel here: it is a Jetson's",
    "temperature_before": "no thermal zone here",
    "temperature_highest": "no thermal zone here",
    "thermal_status": "no dumpsys here: it is Android's",
    "capped": "only a Raspberry Pi's firmware tells",
    "steal": "no /proc/stat here, or too short a time",
    "waiting": "no /proc/pressure/cpu here",
    "memory_waiting": "no /proc/pressure/memory here",
    "power_w": "no readable RAPL, INA3221 or discharging battery here",
    "charging": "no battery here",
    "gpu": "no nvidia-smi that works and no devfreq GPU here",
}


def _told(line: str) -> str:
    """The answer in `Question: answer`."""
    return line.rpartition(":")[2].strip()


def _governor(reading: Reading) -> str | None:
    """One for all cores, or each that some core has."""
    return ", ".join(sorted(set(reading.get("governor", ())))) or None


def _charging(said: Sequence[Reading]) -> bool | None:
    """Whether power came in at any time; a battery that is full is fed, too."""
    states = words(said, "battery")
    return any(state != "Discharging" for state in states) if states else None


def _uptime(reading: Reading) -> float:
    return float(reading["uptime"][0].split()[0]) if "uptime" in reading else 0.0


def _capped(said: Sequence[Reading]) -> bool | None:
    bits = [int(value, 16) for value in words(said, "capped")]
    return any(value & CAPPED_NOW for value in bits) if bits else None


def _steal(first: Reading, last: Reading) -> float | None:
    """Of /proc/stat's user, nice, system, idle, iowait, irq, softirq and steal; guests are within the first two."""
    before, after = ([int(word) for word in reading.get("ticks", [""])[0].split()[1:9]] for reading in (first, last))
    spent = [late - early for early, late in zip(before, after, strict=False)]
    return spent[7] / sum(spent) if len(spent) == 8 and sum(spent) > 0 else None


def _waiting(first: Reading, last: Reading, key: str, seconds: float) -> float | None:
    """From PSI's running total in µs."""
    totals = [line.rpartition("total=")[2] for line in words((first, last), key)]
    if len(totals) < 2 or seconds <= 0 or not all(map(str.isdigit, totals)):
        return None
    return min(1.0, (int(totals[1]) - int(totals[0])) / (1e6 * seconds))


def _power(said: Sequence[Reading], seconds: float) -> float | None:
    """The processor's by RAPL, else the board's input or its rails by INA3221, else a discharging battery's."""
    counters = list(zip(*(numbers(reading, "energy_uj") for reading in said), strict=False))
    if counters and seconds > 0:
        return sum(map(_spent, counters, numbers(said[0], "range_uj"))) / (1e6 * seconds)
    rails = next((kind for kind in ("input", "rail") if words(said, f"{kind}_mv")), None)  # an input feeds the rails
    watts = [_rails(reading, rails) if rails else _battery(reading) for reading in said]
    return fmean(known(watts)) if known(watts) else None


def _spent(counter: Sequence[float], wraps_at: float) -> float:
    """How far a counter came that starts again at 0 after `wraps_at`."""
    return sum((late - early) % (wraps_at + 1) for early, late in pairwise(counter))


def _rails(reading: Reading, kind: str) -> float | None:
    pairs = list(zip(numbers(reading, f"{kind}_ma"), numbers(reading, f"{kind}_mv"), strict=False))
    return sum(current * voltage for current, voltage in pairs) / 1e6 if pairs else None


def _battery(reading: Reading) -> float | None:
    if reading.get("battery") != ["Discharging"]:
        return None
    current, voltage = numbers(reading, "battery_ua"), numbers(reading, "battery_uv")
    return abs(current[0]) * voltage[0] / 1e12 if current and voltage else None
