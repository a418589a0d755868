"""A float model from any exporter → the same function with known shapes, a plain graph and, if it can, a free batch."""

from collections.abc import Sequence

import onnx
from onnx import version_converter

from edgekd.errors import BadInputError
from edgekd.onnx_import.batch import ADVICE as DYNAMIC
from edgekd.onnx_import.batch import first_batch, first_samples, free_batch, in_batches_of_one, static_batch
from edgekd.onnx_import.batch_first import rows_by_sample
from edgekd.onnx_import.inputs import Arrays, Shapes
from edgekd.onnx_import.read import opset_of
from edgekd.onnx_import.same import doubles, independent, require_same, require_settled
from edgekd.onnx_import.shapes import declare_outputs, fix_shapes
from edgekd.onnx_import.simplify import simplify
from edgekd.onnx_weightless import with_weights, without_weights
from edgekd.quantization.clean import MIN_OPSET
from edgekd.quantization.reference import Reference, require_alike
from edgekd.reading import reason

BATCH = 8


def import_float(model: onnx.ModelProto, inputs: Arrays, shapes: Shapes, *, slim: bool = True) -> onnx.ModelProto:
    """An equivalent model of opset ≥ 18, held against the given one on `inputs`, which fix its free dimensions.

    A batch that is built in is freed where the function is the same for any; else it stays. Where what a sample gives
    depends on the others of its batch, the batch becomes 1. Outputs that hold their samples' rows one after the other
    get a dimension for the samples. Raises BadInputError for dimensions that stay free, and where outputs differ.
    """
    require_settled(model, inputs)
    if static_batch(model) is None and not independent(model, inputs):
        model = in_batches_of_one(model)
    plain = _imported(model, inputs, shapes, slim)
    by_sample = rows_by_sample(plain, first_samples(inputs, static_batch(plain) or BATCH))
    if by_sample is not plain:
        _require_as_many_rows(plain, inputs)
    return by_sample


def _require_as_many_rows(model: onnx.ModelProto, inputs: Arrays) -> None:
    """Raise BadInputError where outputs that hold several rows a sample hold another number for another sample."""
    batch = static_batch(model) or 1
    whole = first_samples(inputs, max(min(BATCH, *map(len, inputs.values())) // batch, 1) * batch)
    parts = Reference(model).parts(whole, batch)
    require_alike([{name: value.shape for name, value in made.items()} for _, made in parts])


def _imported(model: onnx.ModelProto, inputs: Arrays, shapes: Shapes, slim: bool) -> onnx.ModelProto:
    built_in = static_batch(model)
    batch = built_in or BATCH
    first = first_batch(inputs, batch) if built_in else first_samples(inputs, batch)
    fixed = fix_shapes(modern(model), {**{name: array.shape for name, array in inputs.items()}, **shapes})
    forms = [simplify(fixed), fixed] if slim else [fixed]
    freed = _freed(model, forms, first, inputs, slim) if built_in else None
    return freed or _same(model, forms, first, inputs, batch)


def _same(
    model: onnx.ModelProto, forms: Sequence[onnx.ModelProto], first: Arrays, inputs: Arrays, batch: int
) -> onnx.ModelProto:
    """The first of its forms that computes the same; the last one's error where none does."""
    for number, form in enumerate(forms, 1):
        plain = declare_outputs(form, first)
        try:
            require_same(model, plain, inputs, batch, "export it with opset 18 or later")
        except BadInputError:
            if number == len(forms):
                raise
            continue
        return plain
    raise AssertionError("a model has a form")


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
            batch = len(next(iter(first.values())))
            require_same(model, freed, inputs, batch, DYNAMIC)
            # of several, a constant for each sample fits no other number of them, nor do products of all with all
            if batch > 1 and not doubles(freed, first):
                continue
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
        converted = version_converter.convert_version(without_weights(model), MIN_OPSET)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BadInputError(
            f"opset {opset} does not convert to {MIN_OPSET} ({reason(error)}): export it anew"
        ) from error
    return with_weights(converted, model)
