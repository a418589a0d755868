"""TFLite-Micro: a trimmed .tflite file for a microcontroller, as C too, with the memory that it was seen to take."""

from importlib.util import find_spec
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.errors import MissingExtraError
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = ("int8",)


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.tflite` (NHWC, at the target's batch alone), `model_data.c`, its header and how to use them.

    Raises BadInputError naming the node and op that TFLite-Micro does not compute in int8, or the memory that the
    target does not have; MissingExtraError without TFLite-Micro.
    """
    if find_spec("ai_edge_litert") is None or find_spec("tflite_micro") is None:
        raise MissingExtraError("tflm")
    from edgekd.backends.tflm.build import build

    return build(model, target, folder)
