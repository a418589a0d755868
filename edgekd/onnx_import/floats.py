"""A float model from any exporter → the same function with known shapes, a plain graph and, if it can, a free batch."""

from collections.abc import Sequence

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

    A batch that is built in is freed where the function is the same for any; else it stays.
    Raises BadInputError for dimensions that stay free, and where outputs differ.
    """
    built_in = static_batch(model)
    batch = built_in or BATCH
    first = first_batch(inputs, batch) if built_in else {name: array[:batch] for name, array in inputs.items()}
    fixed = fix_shapes(modern(model), {**{name: array.shape for name, array in inputs.items()}, **shapes})
    plain = simplify(fixed) if slim else fixed
    freed = _freed(model, [plain, fixed] if slim else [plain], first, inputs, slim) if built_in else None
    if freed is not None:
        return freed
    plain = declare_outputs(plain, first)
    require_same(model, plain, inputs, batch, ADVICE if slim else "export it with opset 18 or later")
    return plain


def _freed(
    model: onnx.ModelProto, forms: Sequence[onnx.ModelProto], first: Arrays, inputs: Arrays, slim: bool
) -> onnx.ModelProto | None:
    """The first of its forms that takes any batch and computes the same; None if none does.

    Simplified, a batch of 1 may leave no trace; as it is, more may stand in the way.
    """
    for number, form in enumerate(forms):
        try:
            freed = free_batch(form, first)
            freed = declare_outputs(simplify(freed) if slim and number else freed, first)
            require_same(model, freed, inputs, len(next(iter(first.values()))), DYNAMIC)
        except BadInputError:
            continue
        return freed
    return None


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
