"""What only stands in for a device: its outputs are valid, its latency is not."""

from typing import TypedDict

from edgekd.devices import Device
from edgekd.runtimes import find_needs

SECONDS = 60.0  # that a device has to say what machine it is


def may_be_timed(backend: str) -> bool:
    """Whether there are devices on which a backend's runtime is more than a stand-in."""
    needs = find_needs(backend)
    return needs.stand_in is None or bool(needs.silicon)


def stand_in_on(device: Device, backend: str) -> str | None:
    """What ran on a device in place of the one that a bundle is for; None where that is it."""
    needs = find_needs(backend)
    if needs.stand_in is None or not needs.silicon:
        return needs.stand_in
    machine = device.run(["uname", "-m"], SECONDS).stdout.strip()
    return None if machine in needs.silicon else needs.stand_in


class Executed(TypedDict, total=False):
    """What ran, where that only stood in for the device."""

    executed: str


def executed(device: Device, backend: str) -> Executed:
    """What ran, where that only stood in for the device."""
    stand_in = stand_in_on(device, backend)
    return {"executed": stand_in} if stand_in else {}
