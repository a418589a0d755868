"""TensorRT: a linted copy of the graph; its engine is built on the device, whose GPU it is made for."""

from pathlib import Path
from typing import Any

import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.backends.onnx_file import require_float_io, tensor_specs, write_onnx
from edgekd.backends.tensorrt.conformance import conformance
from edgekd.backends.tensorrt.half import half_islands
from edgekd.backends.tensorrt.lint import lint, notes_or_raise
from edgekd.target import Target

MODEL = "model.onnx"


def check(model: onnx.ModelProto) -> dict[str, Any]:
    """What TensorRT-RTX makes of a QDQ graph ahead of time; errors as in `conformance`."""
    found = conformance(model.SerializeToString())
    return {"int8": found.int8_layers, "total": found.total_layers, "label": found.label}


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.onnx`; raise BadInputError naming the nodes that TensorRT rejects or would compute wrongly."""
    require_float_io(target)
    notes = notes_or_raise(lint(model)) if precision == "int8" else ()
    inputs, outputs = tensor_specs(model)
    if target.floats == "float16":
        model, layers = half_islands(model)
        notes += (f"{layers} layers compute in float16",) if layers else ()
    write_onnx(model, folder / MODEL)
    return Compiled(MODEL, (MODEL,), inputs, outputs, notes)
