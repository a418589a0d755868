"""A foreign ONNX model → a bundle: float models are calibrated, QDQ models of the target's scheme keep their scales."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

import edgekd
from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.bundle import Preprocessing
from edgekd.data.npz import read_npz
from edgekd.devices import open_device
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.files import sha256
from edgekd.measure import MissingRuntimeError
from edgekd.onnx_graph import check, constants
from edgekd.pipeline.proof import PARITY_INPUTS, Expected, gather_evidence
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.qdq import is_quantized, scheme_of, strip_activations
from edgekd.quantization.scheme import find_scheme
from edgekd.target import Target, load_target

Array = NDArray[Any]
Arrays = dict[str, Array]
BATCH = 64


def export_file(path: Path, target_name: str, out: Path, calibration: Path | None = None) -> dict[str, Any]:
    """Write `out/<model>-<target>` and prove it on this machine; the status is `unverified` where it cannot run.

    Raises BadInputError for a model or data that cannot be used, PromiseBrokenError when parity does not hold.
    """
    target, model = load_target(target_name), read_model(path)
    inputs = read_inputs(model, calibration) if calibration else None
    quantized = _quantized(model, target, inputs, path)
    return deliver(
        quantized,
        target,
        out / f"{path.stem}-{target.name}",
        inputs or _random_inputs(quantized),
        name=path.stem,
        provenance={"source": path.name, "source_sha256": sha256(path)},
        original=None if is_quantized(model) else model,
    )


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
) -> dict[str, Any]:
    """Write the bundle of a QDQ model and prove it here; `original` is the float model that it must resemble.

    Without one, as after fine-tuning, it must resemble its own weights with float activations.
    Raises PromiseBrokenError, naming the first diverging tensor, when parity does not hold.
    """
    outputs = Reference(model).run(inputs, batch=BATCH)
    manifest = write_bundle(
        model, target, folder, "int8", name=name, inputs=inputs, outputs=outputs,
        provenance={**provenance, "edgekd": edgekd.__version__}, preprocessing=preprocessing, labels=labels,
    )  # fmt: skip
    report = {
        "bundle": str(folder),
        "target": target.name,
        "bytes": manifest.model_bytes,
        "notes": list(manifest.notes),
    }
    yardstick = strip_activations(model)[0] if original is None else original
    unquantized = Reference(yardstick).run(inputs, batch=BATCH)
    return report | _proof(target, folder, Expected(model, inputs, outputs, unquantized))


def read_model(path: Path) -> onnx.ModelProto:
    """A checked ONNX model; BadInputError in one line otherwise."""
    try:
        model = onnx.load(path)
        check(model)
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except (BadInputError, DecodeError, ValueError, OSError) as error:
        raise BadInputError(f"{path}: not a valid ONNX model: {str(error).strip().splitlines()[0]}") from error
    return model


def read_inputs(model: onnx.ModelProto, path: Path) -> Arrays:
    """Model inputs by name from an npz (one array of any name fits a model of one input), at most 512 samples."""
    names, arrays = _input_names(model), read_npz(path)
    if len(names) == len(arrays) == 1:
        arrays = dict(zip(names, arrays.values(), strict=True))
    if set(names) - set(arrays):
        raise BadInputError(f"{path}: needs arrays {', '.join(names)}; there is: {', '.join(arrays) or 'nothing'}")
    return {name: _checked(arrays[name], name, path)[:PARITY_INPUTS] for name in names}


def _checked(array: Array, name: str, path: Path) -> Array:
    if array.dtype.kind != "f":
        raise BadInputError(f"{path}: {name} is {array.dtype}; model inputs are float32, already preprocessed")
    if not np.isfinite(array).all():
        raise BadInputError(f"{path}: {name} holds values that are not finite")
    return array.astype(np.float32)


def _quantized(model: onnx.ModelProto, target: Target, inputs: Arrays | None, path: Path) -> onnx.ModelProto:
    scheme = find_scheme(target.scheme)
    if not is_quantized(model):
        if inputs is None:
            raise BadInputError(f"{path} is a float model: --calibration X.npz with some of its inputs is needed")
        parts = range(0, len(next(iter(inputs.values()))), BATCH)
        return calibrate(model, scheme, [{n: a[start : start + BATCH] for n, a in inputs.items()} for start in parts])
    found = scheme_of(model)
    if found is None or found.name != scheme.name:
        theirs = found.name if found else "no scheme that edgekd knows"
        advice = "export its float original with --calibration, or add the target to the recipe and run it again"
        raise BadInputError(f"{path} is quantised for {theirs}, {target.name} needs {scheme.name}: {advice}")
    return model


def _random_inputs(model: onnx.ModelProto) -> Arrays:
    """Noise that fills what the input quantisers can hold; for a QDQ model that came without data."""
    random, numbers = np.random.default_rng(0), constants(model)
    arrays: Arrays = {}
    for value in model.graph.input:
        shape = [dimension.dim_value or PARITY_INPUTS for dimension in value.type.tensor_type.shape.dim]
        reader = next((n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == value.name), None)
        if reader is None or len(reader.input) < 3:
            raise BadInputError(f"input {value.name!r} has no quantiser: --calibration X.npz is needed to prove parity")
        scale, zero_point = numbers[reader.input[1]], numbers[reader.input[2]]
        stored = random.integers(np.iinfo(zero_point.dtype).min, np.iinfo(zero_point.dtype).max, shape, endpoint=True)
        arrays[value.name] = ((stored - int(zero_point)) * scale).astype(np.float32)
    return arrays


def _input_names(model: onnx.ModelProto) -> list[str]:
    numbers = {constant.name for constant in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in numbers]


def _proof(target: Target, folder: Path, expected: Expected) -> dict[str, Any]:
    try:
        with closing(open_device("local:")) as device:
            evidence = gather_evidence(device, folder, target, expected)
    except MissingRuntimeError as error:
        return {"status": "unverified", "reason": str(error), "parity": []}
    if evidence.broken:
        raise PromiseBrokenError(evidence.broken)
    parity = [row.model_dump(mode="json", exclude={"histogram"}) for row in evidence.rows]
    return {"status": "unverified" if evidence.weak else "ok", "reason": evidence.weak, "parity": parity}
