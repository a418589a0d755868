"""The state of a device while it is timed: clocks, heat, power, and who else wants the CPU.

A POSIX shell on the device reads what Linux shows of itself, five times a second, with few processes of its own: what
watches a timing must not slow it.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from statistics import fmean, median

from pydantic import Field

from edgekd.devices import Device
from edgekd.errors import DeviceError
from edgekd.schema import Schema

INTERVAL = 0.2  # seconds between samples
LONGEST = 36_000  # samples after which a watch ends by itself: two hours
SLOW = 0.95  # of the highest frequency; below it a device is throttled
CAPPED_NOW = 0b1111  # a Raspberry Pi's bits for under-voltage, capped frequency, throttling and soft heat limit
SCRIPT = """
say() { [ -r "$2" ] && read -r value <"$2" && echo "$1 $value"; } 2>/dev/null
rails() {
  for rail in "$0"/sys/class/hwmon/hwmon*/curr[0-9]*_input; do
    name=${rail##*/curr}; volts=${rail%/*}/in${name%_input}_input
    [ -r "$volts" ] && say rail_ma "$rail" && say rail_mv "$volts"
  done
}
snapshot() {
  echo snapshot
  say uptime "$0/proc/uptime"; say ticks "$0/proc/stat"; say pressure "$0/proc/pressure/cpu"
  for cpu in "$0"/sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
    say frequency_khz "$cpu/scaling_cur_freq"; say max_khz "$cpu/cpuinfo_max_freq"
  done
  for zone in "$0"/sys/class/thermal/thermal_zone*; do say zone_mc "$zone/temp"; done
  say capped "$0/sys/devices/platform/soc/soc:firmware/get_throttled"
  for domain in "$0"/sys/class/powercap/intel-rapl:[0-9]; do
    say energy_uj "$domain/energy_uj" && say range_uj "$domain/max_energy_range_uj"
  done
  say battery "$0/sys/class/power_supply/battery/status"
  say battery_ua "$0/sys/class/power_supply/battery/current_now"
  say battery_uv "$0/sys/class/power_supply/battery/voltage_now"
  rails
}
left=$1
while [ "$left" -gt 0 ] && [ ! -e "$2" ]; do
  snapshot; left=$((left - 1)); sleep "$3" 2>/dev/null || sleep 1
done
snapshot
"""
Reading = Mapping[str, Sequence[str]]


class Telemetry(Schema):
    """A device from the first to the last replicate; every None has its reason in `missing`.

    Frequencies are those of the fastest core, in MHz: the median over time, and the highest it could have. Temperature
    is the hottest zone's, in °C. `steal` is the fraction of CPU time that a hypervisor gave to others, `waiting` the
    fraction of time in which some task waited for a CPU. Power is in watts, and the whole device's or processor's.
    """

    seconds: float
    samples: int
    frequency_mhz: float | None = None
    max_frequency_mhz: float | None = None
    temperature_before: float | None = None
    temperature_highest: float | None = None
    capped: bool | None = None
    steal: float | None = None
    waiting: float | None = None
    power_w: float | None = None
    missing: dict[str, str] = Field(default_factory=dict)

    @property
    def throttled(self) -> bool:
        """Whether the device held back: it says so, or its clock stayed below 95 % of the highest."""
        slow = self.frequency_mhz and self.max_frequency_mhz and self.frequency_mhz < SLOW * self.max_frequency_mhz
        return bool(self.capped or slow)


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
    watched.telemetry = telemetry(said[0])


def telemetry(text: str) -> Telemetry:
    """What the script's output says."""
    readings = [_reading(part) for part in text.split("snapshot\n")[1:]]
    if not readings:
        return Telemetry(seconds=0, samples=0, missing={"telemetry": "the device's shell gave none"})
    first, last = readings[0], readings[-1]
    seconds = _uptime(last) - _uptime(first)
    found = {
        "frequency_mhz": _middle([_highest(reading, "frequency_khz", 1e-3) for reading in readings]),
        "max_frequency_mhz": _highest(first, "max_khz", 1e-3),
        "temperature_before": _highest(first, "zone_mc", 1e-3),
        "temperature_highest": max(_known([_highest(reading, "zone_mc", 1e-3) for reading in readings]), default=None),
        "capped": _capped(readings),
        "steal": _steal(first, last),
        "waiting": _waiting(first, last, seconds),
        "power_w": _power(readings, seconds),
    }
    missing = {name: WHERE[name] for name, value in found.items() if value is None}
    return Telemetry.model_validate({"seconds": seconds, "samples": len(readings), "missing": missing, **found})


WHERE = {
    "frequency_mhz": "no cpufreq here",
    "max_frequency_mhz": "no cpufreq here",
    "temperature_before": "no thermal zone here",
    "temperature_highest": "no thermal zone here",
    "capped": "only a Raspberry Pi's firmware tells",
    "steal": "no /proc/stat here, or too short a time",
    "waiting": "no /proc/pressure/cpu here",
    "power_w": "no readable RAPL, INA3221 or discharging battery here",
}


def _reading(text: str) -> Reading:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())
    return found


def _numbers(reading: Reading, key: str) -> list[float]:
    return [float(value) for value in reading.get(key, ()) if value.lstrip("-").isdigit()]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _middle(values: Sequence[float | None]) -> float | None:
    return median(_known(values)) if _known(values) else None


def _highest(reading: Reading, key: str, unit: float) -> float | None:
    return max((unit * value for value in _numbers(reading, key)), default=None)


def _uptime(reading: Reading) -> float:
    return float(reading["uptime"][0].split()[0]) if "uptime" in reading else 0.0


def _capped(readings: Sequence[Reading]) -> bool | None:
    bits = [int(value, 16) for reading in readings for value in reading.get("capped", ())]
    return any(value & CAPPED_NOW for value in bits) if bits else None


def _steal(first: Reading, last: Reading) -> float | None:
    """Of /proc/stat's user, nice, system, idle, iowait, irq, softirq and steal; guests are within the first two."""
    before, after = ([int(word) for word in reading.get("ticks", [""])[0].split()[1:9]] for reading in (first, last))
    spent = [late - early for early, late in zip(before, after, strict=False)]
    return spent[7] / sum(spent) if len(spent) == 8 and sum(spent) > 0 else None


def _waiting(first: Reading, last: Reading, seconds: float) -> float | None:
    """From PSI's running total in µs."""
    totals = [reading["pressure"][0].rpartition("total=")[2] for reading in (first, last) if "pressure" in reading]
    if len(totals) < 2 or seconds <= 0 or not all(map(str.isdigit, totals)):
        return None
    return min(1.0, (int(totals[1]) - int(totals[0])) / (1e6 * seconds))


def _power(readings: Sequence[Reading], seconds: float) -> float | None:
    """The processor's by RAPL, else the rails' by INA3221, else a discharging battery's."""
    counters = list(zip(*(_numbers(reading, "energy_uj") for reading in readings), strict=False))
    if counters and seconds > 0:
        return sum(map(_spent, counters, _numbers(readings[0], "range_uj"))) / (1e6 * seconds)
    watts = [_rails(reading) if "rail_mv" in reading else _battery(reading) for reading in readings]
    return fmean(_known(watts)) if _known(watts) else None


def _spent(counter: Sequence[float], wraps_at: float) -> float:
    """How far a counter came that starts again at 0 after `wraps_at`."""
    return sum((late - early) % (wraps_at + 1) for early, late in pairwise(counter))


def _rails(reading: Reading) -> float:
    pairs = zip(_numbers(reading, "rail_ma"), _numbers(reading, "rail_mv"), strict=False)
    return sum(current * voltage for current, voltage in pairs) / 1e6


def _battery(reading: Reading) -> float | None:
    if reading.get("battery") != ["Discharging"]:
        return None
    current, voltage = _numbers(reading, "battery_ua"), _numbers(reading, "battery_uv")
    return abs(current[0]) * voltage[0] / 1e12 if current and voltage else None
