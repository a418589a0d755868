"""The measured exchange rate: what each layer of a network would cost in float on a device, and each boundary of it.

By it layers are kept in float, and what was predicted is measured.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from glob import escape
from math import floor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import Precision
from edgekd.backends.reference import Reference
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError
from edgekd.measure import Session, measure
from edgekd.measure.protocol import Options
from edgekd.measure.stand_in import may_be_timed
from edgekd.pipeline.parity_evidence import Expected
from edgekd.pipeline.profile import summed
from edgekd.quantization.exchange import Boundaries, Rates, by_rate
from edgekd.quantization.mixed_precision import by_error, fewest
from edgekd.quantization.qdq import is_quantized
from edgekd.quantization.sensitivity import Nearness
from edgekd.reporting.exported import MixedReport
from edgekd.target import Limits, Target

Arrays = Mapping[str, NDArray[Any]]
RUNS, REPLICATES, SECONDS, COUNT = 100, 3, 0.2, 20
FEW = 2  # samples that a bundle of the moment is written with
INT8, FLOAT, PROBES = "int8", "float", ("odd", "even")


@dataclass(frozen=True)
class Bench:
    """A device that bundles of the moment are timed on, as a target has them; samples as the model takes them."""

    device: Device
    target: Target
    inputs: Arrays
    folder: Path

    def write(self, label: str, model: onnx.ModelProto) -> Path:
        """Return the bundle of a graph at batch 1; one without quantisers is float."""
        precision: Precision = "int8" if is_quantized(model) else "float"
        few, roomy = {name: array[:FEW] for name, array in self.inputs.items()}, {"limits": Limits(), "batch": 1}
        target = self.target.model_copy(update=roomy)
        outputs = Reference(model).run(few)
        write_bundle(model, target, self.folder / label, precision, name=label, inputs=few, outputs=outputs)
        return self.folder / label

    def times(self, bundles: Mapping[str, Path]) -> dict[str, float]:
        """Return what one inference takes, µs, by label, measured in turns: the least median of fresh processes.

        What else the machine does only adds to it.
        """
        candidates: dict[str, tuple[Path, Options]] = {label: (bundle, {}) for label, bundle in bundles.items()}
        found = measure(self.device, candidates, REPLICATES, SECONDS, COUNT)
        return {label: 1000 * min(map(median, each.samples)) for label, each in found.items()}

    def layers(self, bundle: Path) -> dict[str, float]:
        """Return the share of the whole that each layer takes, by the runtime's profiler."""
        profile = summed(str(bundle), self.device.uri, Session(self.device, bundle).profile(RUNS))
        return {layer.layer: layer.share for layer in profile.layers if layer.layer is not None}


def measured_rates(boundaries: Boundaries, target: Target, inputs: Arrays, device: Device) -> Rates:
    """Return what layers and boundaries of a network take on a device; raises what the runtime and its profiler raise.

    Every other layer in float, and then the others, show what a boundary takes: what they need beyond their own times.
    """
    with TemporaryDirectory(prefix="edgekd-") as scratch:
        bench = Bench(device, target, inputs, Path(scratch))
        kept = {name: boundaries.layers[at::2] for at, name in enumerate(PROBES)}
        bundles = {name: bench.write(name, quantized(boundaries, layers)) for name, layers in kept.items()}
        bundles[INT8] = bench.write(INT8, quantized(boundaries, ()))
        bundles[FLOAT] = bench.write(FLOAT, boundaries.calibrator.plain)
        us = bench.times(bundles)
        own, there = ({layer: us[label] * share for layer, share in bench.layers(bundles[label]).items()}
                      for label in (INT8, FLOAT))  # fmt: skip
    rates = Rates(us[INT8], _beyond(own, there, boundaries.layers))
    probes = [
        (boundaries.crossing(layers), us[name] - rates.us(boundaries.in_float(layers), 0))
        for name, layers in kept.items()
    ]
    return Rates(rates.int8_us, rates.float_us, _slope(probes))


def _beyond(own: Mapping[str, float], there: Mapping[str, float], layers: Sequence[str]) -> dict[str, float]:
    """Return what each operation takes longer in float; one without weights is fused there if it is not to be seen."""
    unseen = set(layers) - there.keys()
    return {name: there.get(name, 0.0) - us for name, us in own.items() if name not in unseen}


@dataclass(frozen=True)
class Mix:
    """A mixed model and what it takes, µs, beside int8: as it was predicted, and as it was measured."""

    expected: Expected
    kept: tuple[str, ...]
    before: Nearness
    after: Nearness
    int8_us: float
    predicted_us: float
    measured_us: float

    def __str__(self) -> str:
        gain = f"{self.before.db:.1f} → {self.after.db:.1f} dB from float"
        took = f"{self.measured_us:.3g} µs ({self.predicted_us:.3g} predicted), {self.int8_us:.3g} in int8"
        return f"{len(self.kept)} layers in float by what they cost here: {gain}, {took}"

    @property
    def row(self) -> MixedReport:
        """The same as data."""
        return {
            "kept": list(self.kept), "int8_db": self.before.db, "db": self.after.db,
            "int8_us": self.int8_us, "predicted_us": self.predicted_us, "measured_us": self.measured_us,
        }  # fmt: skip


def mix_by_rate(boundaries: Boundaries, target: Target, int8: Expected, least_db: float) -> Mix | None:
    """Keep layers in float until the worst part of the outputs is `least_db` near; None where int8 is.

    They are chosen by the rates of this machine and by error alone, and what takes less, as measured, is taken.
    Raises BadInputError where the target's runtime is not here, or not even all layers are enough.
    """
    before = int8.near
    if before.db >= least_db:
        return None
    if not may_be_timed(target.backend):
        raise BadInputError(
            f"--mixed measures what layers cost, and {target.backend} is not here: --keep-float LAYER names them"
        )
    calibrator, scheme, always = boundaries.calibrator, boundaries.scheme, boundaries.keep_float

    def expected(model: onnx.ModelProto) -> Expected:
        return Expected.of(model, int8.inputs, int8.unquantized)

    def enough(model: onnx.ModelProto) -> bool:
        return expected(model).near.db >= least_db

    most = expected(quantized(boundaries, boundaries.layers)).near.db
    if most < least_db:
        raise BadInputError(
            f"--mixed {least_db:g}: not even with all layers in float, {most:.1f} dB, are the outputs so near: "
            f"--mixed {floor(most)} asks for what can be"
        )
    with closing(open_device("local:")) as device, TemporaryDirectory(prefix="edgekd-") as scratch:
        rates = measured_rates(boundaries, target, int8.inputs, device)
        orders = {
            "rate": by_rate(boundaries, rates, int8.inputs),
            "error": by_error(calibrator, scheme, dict(int8.inputs), always),
        }
        mixed = {name: fewest(calibrator, scheme, steps, enough, always) for name, steps in orders.items()}
        bench = Bench(device, target, int8.inputs, Path(scratch))
        bundles = {name: bench.write(name, found.model) for name, found in mixed.items()}
        us = bench.times(bundles | {INT8: bench.write(INT8, int8.model)})
    best = min(mixed, key=us.__getitem__)
    kept, found = mixed[best].kept, expected(mixed[best].model)
    predicted = boundaries.priced(kept, rates) * us[INT8] / rates.int8_us
    return Mix(found, kept, before, found.near, us[INT8], predicted, us[best])


def quantized(boundaries: Boundaries, kept: Sequence[str]) -> onnx.ModelProto:
    """Return the network in int8, but for some layers."""
    return boundaries.calibrator.quantized(boundaries.scheme, (*boundaries.keep_float, *map(escape, kept)))


def _slope(probes: Sequence[tuple[int, float]]) -> float:
    """Return ns an element, by least squares through 0, of elements and the µs that they took; at least 0."""
    weight = sum(elements**2 for elements, _ in probes)
    return max(0.0, 1000 * sum(elements * us for elements, us in probes) / weight) if weight else 0.0
