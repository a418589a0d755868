"""A GPU while it is timed: NVIDIA's by `nvidia-smi` (NVML), a Jetson's and a phone's by Linux's devfreq."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from pydantic import Field

from edgekd.measure.snapshot import Reading, highest, known, middle, words
from edgekd.schema import Amount, Count, Schema, Share

HELD_BACK = {  # of NVML's nvmlClocksEventReasons those that are nobody's choice, by bit
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


class Gpu(Schema):
    """A GPU from the first to the last replicate; every None has its reason in `missing`.

    `busy` is the mean fraction of time in which it computed. Clock (MHz, NVIDIA's of the SMs) and power (W) are the
    median and the mean while it did; temperatures are in °C. `capped` names what held the clock back meanwhile.
    """

    samples: Count
    busy: Share | None = None
    frequency_mhz: Amount | None = None
    max_frequency_mhz: Amount | None = None
    temperature_before: float | None = None
    temperature_highest: float | None = None
    power_w: Amount | None = None
    capped: tuple[str, ...] | None = None
    missing: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class _Sample:
    """One line of nvidia-smi, in the order of `snapshot.NVIDIA`; None where a card does not tell."""

    index: float | None
    percent: float | None
    clock: float | None
    max_clock: float | None
    heat: float | None
    watts: float | None
    reasons: float | None


def gpu(readings: Sequence[Reading]) -> Gpu | None:
    """The GPU that a watch saw, the busiest of several; None where there is none."""
    cards: dict[float | None, list[_Sample]] = {}
    for sample in _samples(words(readings, "nvidia")):
        cards.setdefault(sample.index, []).append(sample)
    if cards:
        return _nvidia(max(cards.values(), key=lambda samples: sum(known([sample.percent for sample in samples]))))
    clocked = [reading for reading in readings if "gpu_hz" in reading]
    return _devfreq(clocked) if clocked else None


def _samples(lines: Sequence[str]) -> Iterator[_Sample]:
    """Of lines that are whole; a Jetson's nvidia-smi is there but knows no clock."""
    for line in lines:
        cells = [_value(cell.strip()) for cell in line.split(",")]
        if len(cells) == len(fields(_Sample)) and (sample := _Sample(*cells)).clock is not None:
            yield sample


def _value(cell: str) -> float | None:
    try:
        return float(int(cell, 16)) if cell.startswith("0x") else float(cell)
    except ValueError:  # [N/A], [Not Supported]
        return None


def _nvidia(samples: Sequence[_Sample]) -> Gpu:
    at_work = [sample for sample in samples if sample.percent] or samples
    busy, heat = known([sample.percent for sample in samples]), [sample.heat for sample in samples]
    watts, reasons = known([sample.watts for sample in at_work]), known([sample.reasons for sample in at_work])
    found = {
        "busy": fmean(busy) / 100 if busy else None,
        "frequency_mhz": middle([sample.clock for sample in at_work]),
        "max_frequency_mhz": max(known([sample.max_clock for sample in samples]), default=None),
        "temperature_before": heat[0],
        "temperature_highest": max(known(heat), default=None),
        "power_w": fmean(watts) if watts else None,
        "capped": tuple(why for bit, why in HELD_BACK.items() if any(int(seen) & bit for seen in reasons))
        if reasons
        else None,
    }
    return _complete(len(samples), found, "nvidia-smi does not tell it of this card")


def _devfreq(readings: Sequence[Reading]) -> Gpu:
    loads = [highest(reading, "gpu_load", 1e-3) for reading in readings]  # Jetson's, in thousandths
    at_work = [reading for reading, load in zip(readings, loads, strict=True) if load] or readings
    found = {
        "busy": fmean(known(loads)) if known(loads) else None,
        "frequency_mhz": middle([highest(reading, "gpu_hz", 1e-6) for reading in at_work]),
        "max_frequency_mhz": highest(readings[0], "gpu_max_hz", 1e-6),
    }
    return _complete(len(readings), found, "Linux's devfreq does not tell it")


def _complete(samples: int, found: dict[str, Any], reason: str) -> Gpu:
    names = set(Gpu.model_fields) - {"samples", "missing"}
    missing = {name: reason for name in sorted(names) if found.get(name) is None}
    return Gpu.model_validate({"samples": samples, "missing": missing, **found})
