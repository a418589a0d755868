"""Arm Ethos-U: a .tflite file in int8, what Vela makes of it, and where each operator runs."""

from importlib.util import find_spec
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.errors import MissingExtraError
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = ("int8",)


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.tflite` (NHWC, at the target's batch alone), `model_vela.tflite` and `placement.json`.

    Raises BadInputError naming the node and op that the NPU does not take, unless the target lets the CPU have it, or
    the memory that the target does not have; MissingExtraError without Vela or LiteRT.
    """
    if find_spec("ai_edge_litert") is None or find_spec("ethosu") is None:
        raise MissingExtraError("ethos-u")
    from edgekd.backends.ethos_u.build import build

    return build(model, target, folder)
