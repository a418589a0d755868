"""Shapes made known: every dimension behind the batch gets a size."""

from collections.abc import Sequence

import onnx

from edgekd.errors import BadInputError, UnfitInputsError
from edgekd.onnx_graph import INVALID, inferred
from edgekd.onnx_import.inputs import Arrays, Shapes, model_inputs, sizes_of
from edgekd.quantization.reference import Reference

BATCH = "batch"


def fix_shapes(model: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """A copy whose inputs have known sizes behind the batch, taken from `shapes` (batch included) where they are free.

    Every other shape is inferred anew. Raises BadInputError, naming the input, for a size that nobody gave.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    unknown = set(shapes) - {value.name for value in model_inputs(fixed)}
    if unknown:
        names = ", ".join(value.name for value in model_inputs(fixed))
        raise BadInputError(f"--shape names {sorted(unknown)[0]!r}; the inputs are: {names}")
    for value in model_inputs(fixed):
        declare(value, [sizes_of(value)[0], *_sizes(value, shapes.get(value.name))])
    fixed.graph.ClearField("value_info")
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return inferred(fixed)
    except BadInputError as error:
        shown = ", ".join(
            f"{value.name} {tuple(size or 'any' for size in sizes_of(value))}" for value in model_inputs(fixed)
        )
        why = str(error).removeprefix(INVALID)
        raise UnfitInputsError(f"its shapes contradict each other for these sizes of inputs: {shown}: {why}") from error


def named_sizes(model: onnx.ModelProto, shapes: Shapes) -> Shapes:
    """Shapes of inputs that are not among the given ones, where dimensions called alike there tell all sizes."""
    known: dict[str, int] = {}
    values = {value.name: value.type.tensor_type.shape.dim for value in model_inputs(model)}
    for name, dims in values.items():
        if name in shapes and len(dims) == len(shapes[name]):
            known |= {dim.dim_param: size for dim, size in zip(dims, shapes[name], strict=True) if _is_name(dim)}
    found = {name: tuple(dim.dim_value or known.get(dim.dim_param, 0) for dim in dims) for name, dims in values.items()}
    return {
        name: shape
        for name, shape in found.items()
        if name not in shapes and min(shape, default=0) > 0 and any(map(_is_name, values[name]))
    }


def _is_name(dim: onnx.TensorShapeProto.Dimension) -> bool:
    """Whether a free dimension is called something, and not merely unknown ("?", "None")."""
    return dim.dim_param != "None" and any(map(str.isalpha, dim.dim_param))


def _sizes(value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> list[int]:
    """Sizes behind the batch: the declared ones, else the given ones."""
    declared = sizes_of(value)
    found = declared if given is None else list(given)
    pairs = zip(declared[1:], found[1:], strict=False)
    if len(found) != len(declared) or any(mine not in {None, theirs} for mine, theirs in pairs):
        raise BadInputError(f"input {value.name!r} has shape {tuple(declared)}; {given} does not fit")
    if None in found[1:]:
        shown = ",".join(str(size or "?") for size in [declared[0] or 1, *declared[1:]])
        raise BadInputError(
            f"input {value.name!r} has free dimensions: fix them with --shape {value.name}={shown} (numbers for ?), "
            "or with --calibration data of that shape"
        )
    return [size for size in found[1:] if size is not None]


def declare(value: onnx.ValueInfoProto, sizes: Sequence[int | None]) -> None:
    """Write an input's or output's dimensions; None is the batch."""
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        dim = shape.dim.add()
        if size is None:
            dim.dim_param = BATCH
        else:
            dim.dim_value = size


def declare_outputs(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    """A copy that declares the output shapes which inference leaves open, as they are seen with `feeds`."""
    if all(value.type.tensor_type.shape.dim and None not in sizes_of(value)[1:] for value in model.graph.output):
        return model
    made, declared = Reference(model).run(feeds), onnx.ModelProto()
    declared.CopyFrom(model)
    for value in declared.graph.output:
        declare(value, [None, *made[value.name].shape[1:]])
    return declared
