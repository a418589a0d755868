"""A QDQ model → a bundle that is proven on this machine, or not written."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

from numpy.typing import NDArray

import edgekd
from edgekd.backends.assemble import write_bundle
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Preprocessing, Range
from edgekd.devices import open_device
from edgekd.errors import MissingRuntimeError, PromiseBrokenError
from edgekd.measure.stand_in import executed
from edgekd.outputs import first, one
from edgekd.pipeline.parity_evidence import Expected, gather_evidence
from edgekd.quantization.float_fallback import asked_layers
from edgekd.quantization.sensitivity import distances
from edgekd.reporting.exported import ExportReport
from edgekd.schema import TaskSpec
from edgekd.target import Target
from edgekd.tasks import Task, spec_of


def export_and_verify(
    expected: Expected,
    target: Target,
    folder: Path,
    *,
    name: str,
    provenance: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] = (),
    ranges: Mapping[str, Range] | None = None,
    task: TaskSpec | None = None,
    notes: Sequence[str] = (),
) -> ExportReport:
    """Write the bundle of a QDQ model and prove it here by what is expected of it.

    Until it is proven it lies beside `folder`, whose earlier bundle stays if this one is refused; what could not be
    proven is kept. Raises PromiseBrokenError, naming the layer at fault, when parity does not hold.
    """
    layers, parts, expected = expected.layers, expected.parts, expected.held_by(target.backend)
    model, inputs, outputs = expected.model, expected.inputs, expected.outputs
    floats = expected.unquantized or {}
    with replaced_folder(folder) as scratch:
        manifest = write_bundle(
            model, target, scratch, "int8", name=name, inputs=inputs, outputs=outputs,
            unquantized=expected.unquantized,
            provenance={**provenance, "edgekd": edgekd.__version__}, preprocessing=preprocessing, labels=labels,
            ranges=ranges, task=task, layers=layers, notes=notes,
        )  # fmt: skip
        proof = _proof(target, scratch, expected)
    return {
        "bundle": str(folder),
        "target": target.name,
        "bytes": manifest.model_bytes,
        "notes": list(manifest.notes),
        "layers_int8": list(asked_layers(model)),
        "db_from_float": round(expected.near.db, 1),
        "outputs_db": {part: round(db, 1) for part, db in distances(floats, outputs, parts).items()},
        **proof,
    }


class Told(TypedDict, total=False):
    """What a bundle says of its task."""

    task: TaskSpec
    labels: tuple[str, ...]


def told_of(task: Task | None, outputs: Mapping[str, NDArray[Any]]) -> Told:
    """Return what a bundle says of its task: that and, of classes, their numbers; BadInputError without its output."""
    if task is None:
        return {}
    read = one(outputs, first(task.reads), type(task).__name__)
    classes = map(str, range(read.shape[1])) if task.by_class and read.ndim > 1 else ()
    return {"task": spec_of(task), "labels": tuple(classes)}


def _proof(target: Target, folder: Path, expected: Expected) -> ExportReport:
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
    reason = evidence.weak or evidence.kernels.warning
    found: ExportReport = {"status": status, "reason": reason, "parity": parity, "layers": layers}
    return found | {"executed": ran["executed"]} if "executed" in ran else found
