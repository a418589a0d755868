"""What is written where int8 does not come near enough: another precision of the target's backend that is proven."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgekd
from edgekd.backends import find_backend
from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import PLAIN, Precision
from edgekd.backends.conversion import from_bundle, stored_inputs
from edgekd.backends.parity import DOES_NOT_COUNT
from edgekd.backends.reference import Reference
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Manifest
from edgekd.devices import open_device
from edgekd.errors import BadInputError, MissingRuntimeError, PromiseBrokenError
from edgekd.measure import predict
from edgekd.pipeline.export import told_of
from edgekd.pipeline.parity_evidence import affordable
from edgekd.pipeline.variants import LEAST_SQNR_DB
from edgekd.quantization.parts import parts_of
from edgekd.quantization.sensitivity import nearness
from edgekd.reporting.exported import ExportReport
from edgekd.target import Target
from edgekd.tasks import Task

Arrays = dict[str, NDArray[Any]]
SMALLEST_FIRST: tuple[Precision, ...] = ("dynamic-range", "float16", "float")
BATCH = 64
ROUNDING = 2.0**-22  # of a value: two units in its last place
ROUNDINGS_DB = 6.0  # what the roundings of all layers may add to those of the inputs


def fall_back(
    model: onnx.ModelProto,
    target: Target,
    folder: Path,
    inputs: Arrays,
    *,
    name: str,
    provenance: Mapping[str, Any],
    why: str,
    notes: Sequence[str] = (),
    task: Task | None = None,
    exact: Arrays | None = None,
) -> ExportReport:
    """Write the smallest precision of a float model that is proven here, and report it with the status `fallback`.

    `why` is what was wrong with int8, `exact` the model's own answers to the inputs, where they are known. Where the
    runtime is not here, the smallest one that compiles is written, and is `unverified`; so is float where these samples
    cannot prove it. Raises PromiseBrokenError where nothing is proven, BadInputError where the backend does not take
    even the float model.
    """
    inputs, exact = _answered(model, inputs, exact)
    refused = [why]
    last: BadInputError | PromiseBrokenError = PromiseBrokenError()
    known = getattr(find_backend(target.backend), "PRECISIONS", PLAIN)
    for precision in (precision for precision in SMALLEST_FIRST if precision in known):
        about = (f"{precision}: {why}", *notes)
        try:
            report = write_precision(
                model, target, folder, inputs, precision, name=name, provenance=provenance, notes=about,
                task=task, exact=exact,
            )  # fmt: skip
        except (BadInputError, PromiseBrokenError) as error:
            refused.append(f"{precision}: {error.args[0]}")
            last = error
            continue
        status = "fallback" if report["status"] == "ok" else report["status"]
        return report | {"status": status, "reason": "; ".join(filter(None, (why, report["reason"])))}
    last.args = ("nothing is proven: " + "; ".join(refused),)
    raise last


def write_precision(
    model: onnx.ModelProto,
    target: Target,
    folder: Path,
    inputs: Arrays,
    precision: Precision,
    *,
    name: str,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    task: Task | None = None,
    exact: Arrays | None = None,
) -> ExportReport:
    """Write a float model in another precision than int8, and prove it here by how near to float its answers are.

    It is `unverified` where the runtime is not here, or where rounding alone moves float answers as far. Raises
    BadInputError where the target's backend has no such precision, PromiseBrokenError.
    """
    inputs, exact = _answered(model, inputs, exact)
    with replaced_folder(folder) as scratch:
        manifest = write_bundle(
            model, target, scratch, precision, name=name, inputs=inputs, outputs=exact,
            provenance={**provenance, "edgekd": edgekd.__version__}, notes=notes, **told_of(task, exact),
        )  # fmt: skip
        try:
            proof = _proof(scratch, manifest, model, inputs, exact)
        except MissingRuntimeError as error:
            proof = {"status": "unverified", "reason": str(error), "db_from_float": None}
    return {
        "bundle": str(folder), "target": target.name, "bytes": manifest.model_bytes, "precision": precision,
        "notes": list(manifest.notes), "status": "ok", "reason": None, **proof,
    }  # fmt: skip


def _answered(model: onnx.ModelProto, inputs: Arrays, exact: Arrays | None) -> tuple[Arrays, Arrays]:
    """As many samples as are affordable, and the answers to them, unless those to the samples are known."""
    if exact is not None:
        return inputs, exact
    inputs = affordable(model, inputs)
    return inputs, Reference(model).run(inputs, batch=BATCH)


def _proof(folder: Path, manifest: Manifest, model: onnx.ModelProto, inputs: Arrays, exact: Arrays) -> ExportReport:
    """How near the float model a bundle's answers are, in dB; PromiseBrokenError where that is not near enough."""
    with closing(open_device("local:")) as device:
        answers = predict(device, folder, stored_inputs(manifest, inputs), manifest.batch)
    seen = {spec.name: from_bundle(spec, answers[spec.name]) for spec in manifest.outputs}
    found, least = nearness(exact, seen, parts_of(model)), LEAST_SQNR_DB[manifest.precision]
    if found.db >= least:
        return {"db_from_float": round(found.db, 1)}
    told_apart = _told_apart(model, inputs, exact)
    if manifest.precision != "float" or found.db < told_apart - ROUNDINGS_DB:
        raise PromiseBrokenError(f"{found.part} is {found.db:.1f} dB from float, {least:g} required")
    reason = f"{DOES_NOT_COUNT}inputs moved by a rounding give float answers {told_apart:.1f} dB from these"
    return {
        "db_from_float": round(found.db, 1), "status": "unverified",
        "reason": f"{reason} ({least:g} required): calibrate with real inputs",
    }  # fmt: skip


def _told_apart(model: onnx.ModelProto, inputs: Arrays, exact: Arrays) -> float:
    """How near each other, in dB, float answers to samples are that differ by a rounding of float32."""
    random = np.random.default_rng(0)

    def moved(array: NDArray[Any]) -> NDArray[Any]:
        by = 1 + ROUNDING * random.choice([-1, 1], array.shape)
        return (array * by).astype(array.dtype) if array.dtype.kind == "f" else array

    shaken = Reference(model).run({name: moved(array) for name, array in inputs.items()}, batch=BATCH)
    return nearness(exact, shaken, parts_of(model)).db
