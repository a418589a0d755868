"""What a device makes of a bundle: its own golden outputs, the parity set, kernel coverage, and accuracy."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.backends.conversion import from_bundle, stored_inputs
from edgekd.backends.layer_proof import LayerProof
from edgekd.backends.layers import prove_layers
from edgekd.backends.losses import layer_losses
from edgekd.backends.parity import Parity
from edgekd.backends.parity_outputs import prove
from edgekd.backends.reference import Reference, reference_graph
from edgekd.bundle import LayerLoss, Preprocessing, load_bundle
from edgekd.data.dataset import model_inputs
from edgekd.data.sources import Sliced
from edgekd.devices import Device
from edgekd.errors import BadInputError
from edgekd.measure import Kernels, check, predict
from edgekd.measure.protocol import Options
from edgekd.onnx_graph import shapes_of
from edgekd.outputs import joined
from edgekd.progress import SILENT, Reporter
from edgekd.quantization.float_fallback import asked_layers
from edgekd.quantization.parts import Part, parts_of
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.sensitivity import Nearness, nearness
from edgekd.target import Target

Array = NDArray[Any]
Arrays = dict[str, Array]
PARITY_INPUTS, PARITY_BATCHES, BATCH = 512, (1, 8), 64
CHUNK_BYTES, TOGETHER = 64 << 20, 6  # of inputs on their way at once; pairs and triplets are not torn
FEW_INPUTS, MOST_BYTES = 16, 1 << 27  # what large samples are proven on, together with what is made of them


@dataclass(frozen=True)
class Expected:
    """A QDQ model, the inputs to try it on, and what the reference makes of them, quantised and in float if known."""

    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays
    unquantized: Arrays | None = None

    @classmethod
    def of(
        cls,
        model: onnx.ModelProto,
        inputs: Arrays,
        unquantized: Arrays | None = None,
        outputs: Arrays | None = None,
    ) -> "Expected":
        """Ask the reference, and for float answers the model without its quantisers, where they are not given.

        Given answers are to the samples that are `affordable`.
        """
        inputs = affordable(model, inputs)
        if unquantized is None:
            unquantized = in_float(strip_activations(model)[0], inputs)
        return cls(model, inputs, outputs or Reference(model).run(inputs, batch=BATCH), unquantized)

    def held_by(self, backend: str) -> "Expected":
        """The same where a backend's arithmetic changes what the model computes."""
        held = reference_graph(self.model, backend)
        return self if held is self.model else replace(self, outputs=Reference(held).run(self.inputs, batch=BATCH))

    @cached_property
    def layers(self) -> tuple[LayerLoss, ...]:
        """What quantising costs each layer; asked once for all targets of a scheme."""
        return layer_losses(self.model, self.inputs)

    @cached_property
    def parts(self) -> dict[str, tuple[Part, ...]]:
        """The parts of each output that are judged apart."""
        return parts_of(self.model)

    @property
    def near(self) -> Nearness:
        """How near float the worst part of the outputs is."""
        return nearness(self.unquantized or {}, self.outputs, self.parts)


@dataclass(frozen=True)
class Evidence:
    """What was seen; `golden` names the outputs that differ from the bundle's own golden ones.

    `layers` is there where steps alone could not vouch for a row; `asked` counts the layers that the graph wants in
    int8 and in float.
    """

    rows: tuple[Parity, ...]
    golden: tuple[str, ...]
    kernels: Kernels
    layers: LayerProof | None = None
    asked: tuple[int, int] = (0, 0)

    @property
    def broken(self) -> str | None:
        """The first promise that does not hold: of precision, or of parity with the layer at fault."""
        if self._overrun is not None:
            return self._overrun
        failed = next((row for row in self.rows if self._fails(row)), None)
        if failed is not None:
            reason = failed.beyond or failed.reason
            return f"parity does not hold: {failed.output} at batch {failed.batch}: {reason}{self._where}"
        return f"the bundle's own golden outputs differ: {', '.join(self.golden)}" if self.golden else None

    def _fails(self, row: Parity) -> bool:
        """Whether a row breaks the promise; one that proves nothing does only where a layer by itself is wrong."""
        faulty = self.layers is not None and self.layers.fault is not None
        return not row.ok and (row.counts or (row.beyond is not None and faulty))

    @property
    def _overrun(self) -> str | None:
        """What ran in int8 although it was to stay in float; kernels of a runtime need not be layers one by one."""
        int8, floats = self.asked
        ran, total = self.kernels.int8, self.kernels.total
        if ran is None or total is None or ran <= int8 or total - ran >= floats:
            return None
        kept = f"{floats} of {int8 + floats} layers are kept in float"
        return f"what ran is not what was asked: {kept}, {total - ran} ran so"

    @property
    def _where(self) -> str:
        if self.layers is None:
            return ""
        fault = self.layers.fault
        return f"; the layer at fault: {fault}" if fault else "; no layer is wrong in itself"

    @property
    def weak(self) -> str | None:
        """Why a case proves nothing, if one does not."""
        return next((row.reason for row in self.rows if not row.counts), None)


def in_float(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """Return a float model's answers; BadInputError where nothing can be held against them."""
    outputs = Reference(model).run(inputs, batch=BATCH)
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BadInputError(f"in float {name!r} is not finite on these inputs: nothing can be held against it")
    return outputs


def affordable(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """Return the first samples, as many as memory may be taken for together with the outputs, but no fewer than 16."""
    known = shapes_of(model)
    shapes = [known.get(value.name) or () for value in model.graph.output]
    sample = sum(4 * math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    sample += sum(array[:1].nbytes for array in inputs.values())
    count = max(FEW_INPUTS, MOST_BYTES // sample)
    return {name: array[:count] for name, array in inputs.items()}


def gather_evidence(
    device: Device, bundle: Path, target: Target, expected: Expected, reporter: Reporter = SILENT
) -> Evidence:
    """Run a bundle at batch 1, 8 and the target's own; errors as in `measure.Session`."""
    manifest = load_bundle(bundle)
    fixed = manifest.fixed_batch
    batches = dict.fromkeys((*PARITY_BATCHES, target.batch) if fixed is None else (fixed,))
    with reporter.track(f"proving {target.name}", total=1) as bar:

        def ask(folder: Path, stored: Arrays, batch: int) -> Arrays:
            bar.advance(note=f"batch {batch}")
            return predict(device, folder, stored, batch)

        bar.advance(note="outputs and kernels")
        checked = check(device, bundle, stored_inputs(manifest, expected.inputs), list(batches))
        golden = tuple(row.output for row in checked.golden if not (row.ok or row.unproven))
        answers = ((batch, checked.outputs(batch)) for batch in batches)
        rows = prove(manifest, answers, expected.outputs, expected.unquantized, expected.parts)
        doubtful = any(not row.ok and (row.counts or row.beyond is not None) for row in rows)
        layers = prove_layers(expected.model, target, expected.inputs, ask) if doubtful else None
    vouched = tuple(_vouched(row, layers) for row in rows)
    return Evidence(vouched, golden, checked.kernels, layers, asked_layers(expected.model))


def _vouched(row: Parity, layers: LayerProof | None) -> Parity:
    """A row that is too many steps away holds all the same if roundings explain it and no layer is at fault."""
    if row.ok or not row.drifts or layers is None or layers.fault is not None:
        return row
    return row.model_copy(update={"ok": True, "proof": "layers", "reason": None})


def outputs_on(
    device: Device, bundle: Path, raw: Sliced, preprocessing: Preprocessing, options: Options | None = None
) -> Arrays:
    """A model's outputs by name, as the model sees them, for raw samples at the bundle's own batch."""
    found: Arrays = joined([outputs for _, outputs in chunks_on(device, bundle, raw, preprocessing, options)])
    return found


def chunks_on(
    device: Device, bundle: Path, raw: Sliced, preprocessing: Preprocessing, options: Options | None = None
) -> Iterator[tuple[slice, Arrays]]:
    """The same in chunks of whole batches and 64 MB of inputs, each with its place: samples are read as they go."""
    manifest = load_bundle(bundle)
    for part in chunks(len(raw), [raw[:1]], manifest.batch):
        inputs = model_inputs(raw[part], preprocessing, manifest.inputs[0].name)
        outputs = predict(device, bundle, stored_inputs(manifest, inputs), manifest.batch, options)
        yield part, {spec.name: from_bundle(spec, outputs[spec.name]) for spec in manifest.outputs}


def chunks(count: int, ones: Sequence[Array], batch: int) -> list[slice]:
    """The places of `count` samples of inputs like `ones` (1, …), some at once; what belongs together stays so."""
    unit, sample = TOGETHER * batch, sum(max(1, 4 // one.dtype.itemsize) * one.nbytes for one in ones)
    each = max(1, CHUNK_BYTES // max(1, sample) // unit) * unit
    return [slice(start, min(start + each, count)) for start in range(0, max(count, 1), each)]
