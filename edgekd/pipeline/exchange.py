"""The measured exchange rate: what each layer of a network would cost in float on a device, and each boundary of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import Precision
from edgekd.backends.reference import Reference
from edgekd.devices import Device
from edgekd.measure import Session, measure
from edgekd.measure.protocol import Options
from edgekd.measure.statistics import Latency
from edgekd.pipeline.profile import summed
from edgekd.quantization.exchange import Boundaries, Rates
from edgekd.target import Limits, Target

Arrays = Mapping[str, NDArray[Any]]
RUNS, REPLICATES, SECONDS, COUNT = 100, 5, 0.2, 20
FEW = 2  # samples that a bundle of the moment is written with
INT8, FLOAT, PROBES = "int8", "float", ("odd", "even")


@dataclass(frozen=True)
class Bench:
    """A device that bundles of the moment are timed on, as a target has them; samples as the model takes them."""

    device: Device
    target: Target
    inputs: Arrays
    folder: Path

    def write(self, label: str, model: onnx.ModelProto, precision: Precision = "int8") -> Path:
        """Return the bundle of a graph at batch 1."""
        few, roomy = {name: array[:FEW] for name, array in self.inputs.items()}, {"limits": Limits(), "batch": 1}
        target = self.target.model_copy(update=roomy)
        outputs = Reference(model).run(few)
        write_bundle(model, target, self.folder / label, precision, name=label, inputs=few, outputs=outputs)
        return self.folder / label

    def times(self, bundles: Mapping[str, Path]) -> dict[str, Latency]:
        """Return what one inference takes, by label, measured in turns."""
        candidates: dict[str, tuple[Path, Options]] = {label: (bundle, {}) for label, bundle in bundles.items()}
        found = measure(self.device, candidates, REPLICATES, SECONDS, COUNT)
        return {label: each.latency for label, each in found.items()}

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
        bundles[FLOAT] = bench.write(FLOAT, boundaries.calibrator.plain, "float")
        us = {label: 1000 * latency.p50 for label, latency in bench.times(bundles).items()}
        own, there = ({layer: us[label] * share for layer, share in bench.layers(bundles[label]).items()}
                      for label in (INT8, FLOAT))  # fmt: skip
    rates = Rates(
        us[INT8], {layer: there[layer] - own[layer] for layer in boundaries.layers if layer in own.keys() & there}
    )
    probes = [(boundaries.crossing(layers), us[name] - rates.us(layers, 0)) for name, layers in kept.items()]
    return Rates(rates.int8_us, rates.float_us, _slope(probes))


def quantized(boundaries: Boundaries, kept: Sequence[str]) -> onnx.ModelProto:
    """Return the network in int8, but for some layers."""
    return boundaries.calibrator.quantized(boundaries.scheme, (*boundaries.keep_float, *map(escape, kept)))


def _slope(probes: Sequence[tuple[int, float]]) -> float:
    """Return ns an element, by least squares through 0, of elements and the µs that they took; at least 0."""
    weight = sum(elements**2 for elements, _ in probes)
    return max(0.0, 1000 * sum(elements * us for elements, us in probes) / weight) if weight else 0.0
