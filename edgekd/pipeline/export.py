"""A foreign ONNX model → a bundle: float models are calibrated, QDQ models of the target's scheme keep their scales."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgekd
from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Preprocessing, Range, Task
from edgekd.confined import parsing
from edgekd.data.ranges import range_of
from edgekd.devices import open_device
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.files import sha256
from edgekd.measure import MissingRuntimeError
from edgekd.onnx_import.batch import ADVICE as DYNAMIC
from edgekd.onnx_import.batch import static_batch
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import Shapes, read_inputs
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.settings import Settings
from edgekd.onnx_import.uniform import uniform
from edgekd.pipeline.calibrated import batches_of, lost_by_layer
from edgekd.pipeline.fallback import fall_back
from edgekd.pipeline.proof import PARITY_INPUTS, Expected, gather_evidence
from edgekd.pipeline.refined import described, refine_where_far, rows_of
from edgekd.quantization.calibrate import Calibration, calibrate
from edgekd.quantization.parts import parts_of
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.refine import nearness
from edgekd.quantization.scheme import find_scheme, schemes_of
from edgekd.reading import reading
from edgekd.target import Target, load_target

Array = NDArray[Any]
Arrays = dict[str, Array]
BATCH = 64
FOR_FLOATS = ("--ranges", "--equalize", "--correct-bias", "--keep-float")


def export_file(
    path: Path,
    target_name: str,
    out: Path,
    calibration: Path | None = None,
    shapes: Shapes | None = None,
    *,
    settings: Settings | None = None,
    simplify: bool = True,
    options: Mapping[str, Any] | None = None,
    keep_float: Sequence[str] = (),
    layers: bool = False,
    refine_seconds: float = 60.0,
) -> dict[str, Any]:
    """Write `out/<model>-<target>` and prove it on this machine; the status is `unverified` where it cannot run.

    Where int8 is far from a float model, its costliest tensors stay in float, sought for at most `refine_seconds`
    (0: int8 is left as it is). Where that is not enough another precision is written: the status is `fallback`.

    `shapes` fix free dimensions by input, batch included; calibration data do it by themselves. `settings` are inputs
    that become constants. `options` are fields of
    `Calibration`, which like `keep_float` only a float model has use for. `layers` adds what each layer loses.
    Raises BadInputError for a model or data that cannot be used, PromiseBrokenError when parity does not hold.
    """
    target, how = load_target(target_name), Calibration(**(options or {}))
    with parsing(path, calibration, "a model that can be imported"):
        plain = uniform(read_model(path), settings or {})
        model, integers = plain.model, holds_integers(plain.model)
        inputs = read_inputs(model, calibration, PARITY_INPUTS, plain.batch_axes) if calibration else None
        ranges = {name: range_of(array) for name, array in (inputs or {}).items() if array.dtype.kind == "f"}
        if not integers:
            model, inputs = _float_original(model, inputs, shapes or {}, simplify)
        elif options or keep_float:
            raise BadInputError(f"it is quantised and keeps its scales: {', '.join(FOR_FLOATS)} are for float models")
        else:
            model, inputs = import_quantized(model, find_scheme(target.scheme), inputs, shapes or {}, PARITY_INPUTS)
    original, quantized, yardstick, refined = None if integers else model, model, None, None
    with reading(path, "a model that can be calibrated"):
        if original is None:
            yardstick = strip_activations(quantized, saturating=True)[0]
        else:
            scheme = schemes_of([target])[0]
            quantized = calibrate(original, scheme, batches_of(inputs), keep_float, how)
            if refine_seconds and scheme.float_tail:
                refined = refine_where_far(original, scheme, inputs, quantized, keep_float, how, refine_seconds)
    folder = out / f"{path.stem}-{target.name}"
    provenance = {"source": path.name, "source_sha256": sha256(path)}
    notes = plain.notes
    if refined is not None:
        quantized, notes = refined.model, (*notes, described(refined))
    report = deliver(
        quantized, target, folder, inputs, name=path.stem, provenance=provenance, original=original or yardstick,
        ranges=ranges, notes=notes,
    )  # fmt: skip
    if refined is not None:
        report["refined"] = rows_of(refined)
        ran = bool(report["parity"])
        if original is not None and ran and report["status"] == "unverified":
            report |= fall_back(
                original, target, folder, inputs, name=path.stem, provenance=provenance, why=report["reason"]
            )
    return report | ({"layers": lost_by_layer(quantized, next(batches_of(inputs)), original, how)} if layers else {})


def deliver(
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
    task: Task | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the bundle of a QDQ model and prove it here; `original` is the float model that it must resemble.

    Without one, as after fine-tuning, it must resemble its own weights with float activations. Until it is proven it
    lies beside `folder`, whose earlier bundle stays if this one is refused; what could not be proven is kept.
    Raises PromiseBrokenError, naming the layer at fault, when parity does not hold.
    """
    built_in = static_batch(model)
    if built_in:
        target = target.at_batch(built_in)
        notes = (*notes, f"it takes batches of {built_in} alone, which are built in: {DYNAMIC} for others")
    outputs = Reference(model).run(inputs, batch=BATCH)
    yardstick = strip_activations(model)[0] if original is None else original
    unquantized = Reference(yardstick).run(inputs, batch=BATCH)
    _require_finite(unquantized)
    with replaced_folder(folder) as scratch:
        manifest = write_bundle(
            model, target, scratch, "int8", name=name, inputs=inputs, outputs=outputs, unquantized=unquantized,
            provenance={**provenance, "edgekd": edgekd.__version__}, preprocessing=preprocessing, labels=labels,
            ranges=ranges, task=task, notes=notes,
        )  # fmt: skip
        proof = _proof(target, scratch, Expected(model, inputs, outputs, unquantized))
    return {
        "bundle": str(folder),
        "target": target.name,
        "bytes": manifest.model_bytes,
        "notes": list(manifest.notes),
        "db_from_float": round(nearness(unquantized, outputs, parts_of(model)).db, 1),
        **proof,
    }


def _require_finite(outputs: Arrays) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise BadInputError(f"in float {name!r} is not finite on these inputs: nothing can be held against it")


def _float_original(
    model: onnx.ModelProto, inputs: Arrays | None, shapes: Shapes, simplify: bool
) -> tuple[onnx.ModelProto, Arrays]:
    """The float model as it can be calibrated, and the inputs to do it with."""
    if inputs is None:
        raise BadInputError("it is a float model: --calibration X.npz with some of its inputs is needed")
    return import_float(model, inputs, shapes, slim=simplify), inputs


def _proof(target: Target, folder: Path, expected: Expected) -> dict[str, Any]:
    try:
        with closing(open_device("local:")) as device:
            evidence = gather_evidence(device, folder, target, expected)
    except MissingRuntimeError as error:
        return {"status": "unverified", "reason": str(error), "parity": []}
    if evidence.broken:
        raise PromiseBrokenError(evidence.broken)
    parity = [row.model_dump(mode="json", exclude={"histogram"}) for row in evidence.rows]
    layers = evidence.layers.model_dump(mode="json") if evidence.layers else None
    status = "unverified" if evidence.weak else "ok"
    return {"status": status, "reason": evidence.weak, "parity": parity, "layers": layers}
