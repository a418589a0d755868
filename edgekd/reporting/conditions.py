"""What a device was like while it was timed, in words: clock, heat, power, and what held it back or disturbed it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekd.reporting.words import Run, listed, percent, three_digits

NOTABLE = 0.01  # of the time; below it nobody was in the way
_DISTURBED = {"steal": "of the CPU stolen by a hypervisor", "memory_waiting": "of the time short of memory"}
_SPACE = "\u00a0"


def conditions(telemetry: Mapping[str, Any] | None, flags: Sequence[str] = ()) -> list[str]:
    """What is known of a `measure.Telemetry` document, a phrase each; `flags` are those of the latencies."""
    return [*(_device(telemetry) if telemetry else ()), *flags]


def of_target(target: Run) -> list[str]:
    """A target's of run.json; a flag names its variants where it is not that of all."""
    variants = {name: row.get("latency_ms") or {} for name, row in (target.get("variants") or {}).items()}
    timed = {name: tuple(latency.get("flags") or ()) for name, latency in variants.items() if latency}
    raised = {
        flag: [name for name, own in timed.items() if flag in own] for flag in dict.fromkeys(sum(timed.values(), ()))
    }
    flags = [flag if len(names) == len(timed) else f"{flag}: {listed(names)}" for flag, names in raised.items()]
    return conditions(target.get("telemetry"), flags)


def _device(seen: Mapping[str, Any]) -> Iterator[str]:
    yield from _clock("clock", seen)
    governor, after = seen.get("governor_before"), seen.get("governor_after")
    if governor:
        yield f"governor {governor}" + (f" → {after}" if after not in (governor, None) else "")
    if seen.get("power_mode"):
        yield f"power mode {seen['power_mode']}"
    yield from _heat(seen)
    if seen.get("thermal_status"):
        yield f"thermal status {seen['thermal_status']}"
    if seen.get("power_w") is not None:
        yield f"{three_digits(seen['power_w'])}{_SPACE}W"
    if seen.get("charging"):
        yield "on a charger"
    for key, words in _DISTURBED.items():
        if (seen.get(key) or 0) >= NOTABLE:
            yield f"{percent(seen[key], 0)} {words}"
    if seen.get("gpu"):
        yield from _gpu(seen["gpu"])


def _clock(name: str, seen: Mapping[str, Any]) -> Iterator[str]:
    now, highest = seen.get("frequency_mhz"), seen.get("max_frequency_mhz")
    if now is not None:
        of = f" of {highest / 1000:.2f}" if highest else ""
        yield f"{name} {now / 1000:.2f}{of}{_SPACE}GHz"


def _heat(seen: Mapping[str, Any]) -> Iterator[str]:
    before, highest = seen.get("temperature_before"), seen.get("temperature_highest")
    if before is not None and highest is not None:
        yield f"{before:.0f} → {highest:.0f}{_SPACE}°C"


def _gpu(seen: Mapping[str, Any]) -> Iterator[str]:
    yield from _clock("GPU clock", seen)
    yield from (f"GPU {words}" for words in _heat(seen))
    if seen.get("power_w") is not None:
        yield f"GPU {three_digits(seen['power_w'])}{_SPACE}W"
    if seen.get("capped"):
        yield f"GPU held back by {listed(seen['capped'])}"
