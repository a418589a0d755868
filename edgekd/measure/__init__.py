"""MEASURE: whatever is claimed of a model on a device was seen there, by the runner, in its own process."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd.devices import Device
from edgekd.measure.benchmark import Measurement, measure
from edgekd.measure.protocol import Array, Checked, Options, Session
from edgekd.measure.records import Footprint, Golden, Kernels
from edgekd.measure.statistics import Latency

__all__ = [
    "Checked",
    "Footprint",
    "Golden",
    "Kernels",
    "Latency",
    "Measurement",
    "Session",
    "check",
    "footprint",
    "measure",
    "operator_coverage",
    "predict",
    "verify",
]


def predict(
    device: Device, bundle: Path, inputs: Mapping[str, Array], batch: int | None = None, options: Options | None = None
) -> dict[str, Array]:
    """Outputs by name for inputs by name, in the bundle's own types and layout, samples first."""
    return Session(device, bundle, options, batch).predict(inputs)


def verify(
    device: Device, bundle: Path, batch: int | None = None, options: Options | None = None
) -> tuple[Golden, ...]:
    """Golden parity, one verdict per output."""
    return Session(device, bundle, options, batch).verify()


def operator_coverage(device: Device, bundle: Path, options: Options | None = None) -> Kernels:
    """How many kernels compute in int8."""
    return Session(device, bundle, options).operator_coverage()


def check(
    device: Device, bundle: Path, inputs: Mapping[str, Array] | None = None, batches: Sequence[int] = ()
) -> Checked:
    """All of these for a proof: verdicts, kernels, and outputs at each batch size, in as few processes as may be."""
    return Session(device, bundle).check(inputs, batches)


def footprint(device: Device, bundle: Path) -> Footprint:
    """Memory and work of a model on a microcontroller, as the runner finds them where it stands in for that."""
    return Session(device, bundle).footprint()
