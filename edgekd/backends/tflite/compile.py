"""TFLite: the model's own flatbuffer, with scales, zero points, weights and biases bit-equal to the ONNX graph's."""

from importlib.util import find_spec
from pathlib import Path

import onnx

from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.errors import MissingExtraError
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = (*PLAIN, "float16", "dynamic-range")
LISTS_OPERATORS = True

MODEL = "model.tflite"


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.tflite` (NHWC, `target.batch` by default and resizable); `target.io` picks int8 or float borders.

    Raises BadInputError naming the node and op that has no TFLite form, MissingExtraError without LiteRT.
    """
    if find_spec("ai_edge_litert") is None:
        raise MissingExtraError("tflite")
    from edgekd.backends.tflite.convert import convert

    converted = convert(model, target, precision)
    (folder / MODEL).write_bytes(converted.content)
    return Compiled(MODEL, (MODEL,), converted.inputs, converted.outputs, converted.notes)
