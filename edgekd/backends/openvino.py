"""OpenVINO: ONNX to IR (`model.xml` and `model.bin`), the same bytes for the same graph."""

import tempfile
from pathlib import Path
from typing import Any

import onnx

from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.backends.onnx_file import require_float_io, tensor_specs, write_onnx
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.quantization.islands import float_layers
from edgekd.quantization.narrow import int8_weights
from edgekd.target import Target

EXTRA = "openvino"
PRECISIONS: tuple[Precision, ...] = (*PLAIN, "dynamic-range")
TOLERANCE = {"p999_steps": 4.0, "agreement": 0.99}
# What the runtime makes of the float model when it is left alone: bf16 on some CPUs, f16 on others.
FLOAT_VARIANTS = {"default": {"precision": "default"}}

MODEL, WEIGHTS = "model.xml", "model.bin"


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write the IR, weights as they are in the graph; raise BadInputError naming what OpenVINO cannot convert.

    The runtime quantises the inputs of integer weights as it sees fit: dynamic range needs no more than those.
    """
    openvino = _sdk()
    require_float_io(target)
    model = int8_weights(model) if precision == "dynamic-range" else model
    inputs, outputs = tensor_specs(model)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        write_onnx(model, source)
        try:
            converted = openvino.convert_model(source)
        except (RuntimeError, openvino.frontend.OpConversionFailure) as error:
            raise BadInputError(f"OpenVINO cannot convert this graph: {_reason(error)}") from error
    _name_operations(converted)
    openvino.save_model(converted, folder / MODEL, compress_to_fp16=False)
    notes = tuple(str(layers) for layers in float_layers(model)) if precision == "int8" else ()
    return Compiled(MODEL, (MODEL, WEIGHTS), inputs, outputs, notes)


def _sdk() -> Any:
    try:
        import openvino
        import openvino.frontend
    except ImportError as error:
        raise MissingExtraError(EXTRA) from error
    return openvino


def _name_operations(model: Any) -> None:
    """Name each operation after its ONNX tensor, else by position: OpenVINO counts through the whole process."""
    for position, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if kind not in ("Parameter", "Result"):
            tensors = sorted(name for output in operation.outputs() for name in output.get_names())
            operation.set_friendly_name(tensors[0] if tensors else f"{kind}.{position}")


def _reason(error: Exception) -> str:
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip("- ")]
    telling = [line for line in lines if "No conversion rule" in line or "not supported" in line]
    return (telling or lines or [type(error).__name__])[0]
