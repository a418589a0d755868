"""What a device was like while it was timed, in words: clock, heat, power, and what held it back or disturbed it."""

from collections.abc import Iterator, Sequence
from itertools import chain

from edgekd.measure.gpu import Gpu
from edgekd.measure.telemetry import Telemetry
from edgekd.reporting.run_record import TargetRecord
from edgekd.reporting.words import listed, percent, three_digits

NOTABLE = 0.01  # of the time; below it nobody was in the way
_SPACE = "\u00a0"


def conditions(telemetry: Telemetry | None, flags: Sequence[str] = ()) -> list[str]:
    """What is known of a device while it was timed, a phrase each; `flags` are those of the latencies."""
    return [*(_device(telemetry) if telemetry else ()), *flags]


def of_target(target: TargetRecord) -> list[str]:
    """A target's of run.json; a flag names its variants where it is not that of all."""
    timed = {name: row.latency_ms.flags for name, row in target.variants.items() if row.latency_ms}
    raised = {
        flag: [name for name, own in timed.items() if flag in own] for flag in dict.fromkeys(chain(*timed.values()))
    }
    flags = [flag if len(names) == len(timed) else f"{flag}: {listed(names)}" for flag, names in raised.items()]
    return conditions(target.telemetry, flags)


def _device(seen: Telemetry) -> Iterator[str]:
    yield from _clock("clock", seen)
    governor, after = seen.governor_before, seen.governor_after
    if governor:
        yield f"governor {governor}" + (f" → {after}" if after not in (governor, None) else "")
    if seen.power_mode:
        yield f"power mode {seen.power_mode}"
    yield from _heat(seen)
    if seen.thermal_status:
        yield f"thermal status {seen.thermal_status}"
    if seen.power_w is not None:
        yield f"{three_digits(seen.power_w)}{_SPACE}W"
    if seen.charging:
        yield "on a charger"
    if (seen.steal or 0) >= NOTABLE:
        yield f"{percent(seen.steal, 0)} of the CPU stolen by a hypervisor"
    if (seen.memory_waiting or 0) >= NOTABLE:
        yield f"{percent(seen.memory_waiting, 0)} of the time short of memory"
    if seen.gpu:
        yield from _gpu(seen.gpu)


def _clock(name: str, seen: Telemetry | Gpu) -> Iterator[str]:
    now, highest = seen.frequency_mhz, seen.max_frequency_mhz
    if now is not None:
        of = f" of {highest / 1000:.2f}" if highest else ""
        yield f"{name} {now / 1000:.2f}{of}{_SPACE}GHz"


def _heat(seen: Telemetry | Gpu) -> Iterator[str]:
    before, highest = seen.temperature_before, seen.temperature_highest
    if before is not None and highest is not None:
        yield f"{before:.0f} → {highest:.0f}{_SPACE}°C"


def _gpu(seen: Gpu) -> Iterator[str]:
    yield from _clock("GPU clock", seen)
    yield from (f"GPU {words}" for words in _heat(seen))
    if seen.power_w is not None:
        yield f"GPU {three_digits(seen.power_w)}{_SPACE}W"
    if seen.capped:
        yield f"GPU held back by {listed(seen.capped)}"
