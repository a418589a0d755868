"""ncnn: its own `.param` and `.bin`, written from the graph itself, scales and int8 weights as they are there."""

from pathlib import Path

import onnx

from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.backends.ncnn import elementwise, moves, pooling, quantisers, weighted  # noqa: F401 each registers its rules
from edgekd.backends.ncnn.lowering import Lowering
from edgekd.backends.ncnn.quantisers import as_computed
from edgekd.backends.ncnn.source import Source
from edgekd.backends.onnx_file import require_float_io, tensor_specs
from edgekd.quantization.float_fallback import float_layers
from edgekd.target import Target

__all__ = ["LISTS_OPERATORS", "PRECISIONS", "as_computed", "compile"]

PRECISIONS: tuple[Precision, ...] = (*PLAIN, "float16")
LISTS_OPERATORS = True

MODEL, WEIGHTS = "model.param", "model.bin"


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write both files, for one sample at a time; raise BadInputError naming the node that has no form in ncnn."""
    require_float_io(target)
    inputs, outputs = tensor_specs(model)
    lowering = Lowering(Source(model), precision)
    text, content = lowering.run()
    (folder / MODEL).write_text(text, encoding="ascii")
    (folder / WEIGHTS).write_bytes(content)
    islands = tuple(str(layers) for layers in float_layers(model)) if precision == "int8" else ()
    return Compiled(MODEL, (MODEL, WEIGHTS), inputs, outputs, (*islands, *lowering.notes))
