"""A float model from any exporter → the same function with known shapes, a free batch and a plain graph."""

import onnx
from onnx import version_converter

from edgekd.errors import BadInputError
from edgekd.onnx_import.batch import ADVICE as DYNAMIC
from edgekd.onnx_import.batch import first_batch, free_batch, static_batch
from edgekd.onnx_import.inputs import Arrays, Shapes
from edgekd.onnx_import.read import opset_of
from edgekd.onnx_import.same import require_same
from edgekd.onnx_import.shapes import declare_outputs, fix_shapes
from edgekd.onnx_import.simplify import ADVICE, simplify
from edgekd.quantization.clean import MIN_OPSET
from edgekd.reading import reason

BATCH = 8


def import_float(model: onnx.ModelProto, inputs: Arrays, shapes: Shapes, *, slim: bool = True) -> onnx.ModelProto:
    """An equivalent model of opset ≥ 18, held against the given one on `inputs`, which fix its free dimensions.

    Raises BadInputError for dimensions that stay free, for a batch that cannot be freed, and where outputs differ.
    """
    built_in = static_batch(model)
    batch = built_in or BATCH
    first = first_batch(inputs, batch) if built_in else {name: array[:batch] for name, array in inputs.items()}
    fixed = fix_shapes(modern(model), {**{name: array.shape for name, array in inputs.items()}, **shapes})
    plain = simplify(fixed) if slim else fixed
    if built_in:
        plain = free_batch(plain, first)
    plain = declare_outputs(plain, first)
    advice = DYNAMIC if built_in else ADVICE if slim else "export it with opset 18 or later"
    require_same(model, plain, inputs, batch, advice)
    return plain


def modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in opset 18 or its own later one; raise BadInputError where onnx cannot convert it."""
    opset = opset_of(model)
    if opset >= MIN_OPSET:
        return model
    try:
        return version_converter.convert_version(model, MIN_OPSET)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BadInputError(
            f"opset {opset} does not convert to {MIN_OPSET} ({reason(error)}): export it anew"
        ) from error
