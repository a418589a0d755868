"""Whether a device is what a target's profile says: its cores, features, memory and accelerator, as they show there."""

import re
from collections.abc import Iterator

from edgekd.measure.facts import Machine
from edgekd.target import Target, builtin_targets, load_target

CORES = {  # Arm's part numbers, from Linux's arch/arm64/include/asm/cputype.h
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
    "0xd83": "Neoverse V3AE",
}
NAME = re.compile(r"(?:Cortex-|Neoverse )\w+")
VISIBLE = 0.8  # of a device's memory: firmware, GPU and camera keep some of it


def mismatches(machine: Machine, target: Target) -> Iterator[tuple[str, str, str]]:
    """What does not fit: the fact, what was found, and what that means."""
    facts, question = target.facts, f"is it a device for {target.name}?"
    for feature in facts.lacking(machine.flags):
        yield "CPU", f"lacks {feature}", _fitting(machine, target) or question
    there, expected = {CORES[part] for part in machine.parts if part in CORES}, set(NAME.findall(facts.cpu or ""))
    if there and expected and not there & expected:
        yield "CPU", ", ".join(sorted(there)), question
    if facts.cores and machine.cores < facts.cores:
        yield "cores", f"{machine.cores} of {facts.cores}", "a power mode or a cpuset holds the others back"
    if facts.cores and machine.cores > facts.cores:
        yield "cores", f"{machine.cores} instead of {facts.cores}", question
    if facts.memory_gb and machine.memory_mb and machine.memory_mb < VISIBLE * 1000 * facts.memory_gb:
        yield "memory", f"{machine.memory_mb / 1000:.1f} of {facts.memory_gb:g} GB", "a smaller model of it?"


def _fitting(machine: Machine, target: Target) -> str | None:
    """Which target for any device of a kind has the same runtime, and asks for no more than this CPU has."""
    for other in map(load_target, builtin_targets()):
        facts = other.facts
        if other.backend == target.backend and facts.isa and not facts.cores and not facts.lacking(machine.flags):
            return f"{other.name} is for such a CPU"
    return None
