"""A QDQ model → a bundle that is proven on this machine, or not written."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgekd
from edgekd.backends.assemble import write_bundle
from edgekd.backends.losses import layer_losses
from edgekd.backends.reference import Reference, reference_graph
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Preprocessing, Range
from edgekd.devices import open_device
from edgekd.errors import BadInputError, MissingRuntimeError, PromiseBrokenError
from edgekd.pipeline.parity_evidence import Expected, affordable, gather_evidence
from edgekd.pipeline.verify import executed
from edgekd.quantization.float_fallback import asked_layers
from edgekd.quantization.parts import parts_of
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.sensitivity import distances, nearness
from edgekd.schema import TaskSpec
from edgekd.target import Target

Array = NDArray[Any]
Arrays = dict[str, Array]
BATCH = 64


def export_and_verify(
    model: onnx.ModelProto,
    target: Target,
    folder: Path,
    inputs: Arrays,
    *,
    name: str,
    provenance: Mapping[str, Any],
    original: onnx.ModelProto | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    task: TaskSpec | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the bundle of a QDQ model and prove it here; `original` is the float model that it must resemble.

    Without one, as after fine-tuning, it must resemble its own weights with float activations. Until it is proven it
    lies beside `folder`, whose earlier bundle stays if this one is refused; what could not be proven is kept.
    Raises PromiseBrokenError, naming the layer at fault, when parity does not hold.
    """
    inputs = affordable(model, inputs)
    outputs = Reference(reference_graph(model, target.backend)).run(inputs, batch=BATCH)
    yardstick = strip_activations(model)[0] if original is None else original
    unquantized = Reference(yardstick).run(inputs, batch=BATCH)
    _require_finite(unquantized)
    with replaced_folder(folder) as scratch:
        manifest = write_bundle(
            model, target, scratch, "int8", name=name, inputs=inputs, outputs=outputs, unquantized=unquantized,
            provenance={**provenance, "edgekd": edgekd.__version__}, preprocessing=preprocessing, labels=labels,
            ranges=ranges, task=task, layers=layer_losses(model, inputs), notes=notes,
        )  # fmt: skip
        proof = _proof(target, scratch, Expected(model, inputs, outputs, unquantized))
    return {
        "bundle": str(folder),
        "target": target.name,
        "bytes": manifest.model_bytes,
        "notes": list(manifest.notes),
        "layers_int8": list(asked_layers(model)),
        "db_from_float": round(nearness(unquantized, outputs, parts_of(model)).db, 1),
        "outputs_db": {part: round(db, 1) for part, db in distances(unquantized, outputs, parts_of(model)).items()},
        **proof,
    }


def _require_finite(outputs: Arrays) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BadInputError(f"in float {name!r} is not finite on these inputs: nothing can be held against it")


def _proof(target: Target, folder: Path, expected: Expected) -> dict[str, Any]:
    try:
        with closing(open_device("local:")) as device:
            evidence, ran = gather_evidence(device, folder, target, expected), executed(device, target.backend)
    except MissingRuntimeError as error:
        return {"status": "unverified", "reason": str(error), "parity": []}
    if evidence.broken:
        raise PromiseBrokenError(evidence.broken)
    parity = [row.model_dump(mode="json", exclude={"histogram"}) for row in evidence.rows]
    layers = evidence.layers.model_dump(mode="json") if evidence.layers else None
    status = "unverified" if evidence.weak else "ok"
    return {"status": status, "reason": evidence.weak, "parity": parity, "layers": layers} | ran
