"""Shapes made known: free dimensions get a size, the batch, which alone stays free, loses the size it was given."""

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph, inferred, set_attribute
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
        _declare(value, [sizes_of(value)[0], *_sizes(value, shapes.get(value.name))])
    fixed.graph.ClearField("value_info")
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return inferred(fixed)


def _sizes(value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> list[int]:
    """Sizes behind the batch: the declared ones, else the given ones."""
    declared = sizes_of(value)
    found = declared if given is None else list(given)
    pairs = zip(declared[1:], found[1:], strict=False)
    if len(found) != len(declared) or any(mine not in {None, theirs} for mine, theirs in pairs):
        raise BadInputError(f"input {value.name!r} has shape {tuple(declared)}; {given} does not fit")
    if None in found[1:]:
        shown = ",".join(str(size or "?") for size in [1, *declared[1:]])
        raise BadInputError(
            f"input {value.name!r} has free dimensions: fix them with --shape {value.name}={shown} (numbers for ?), "
            "or with --calibration data of that shape"
        )
    return [size for size in found[1:] if size is not None]


def _declare(value: onnx.ValueInfoProto, sizes: list[int | None]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        dim = shape.dim.add()
        if size is None:
            dim.dim_param = BATCH
        else:
            dim.dim_value = size


def static_batch(model: onnx.ModelProto) -> int | None:
    """The batch that an exporter has built in; None where the batch is free."""
    sizes = [sizes_of(value)[0] for value in model_inputs(model)]
    fixed = {size for size in sizes if size is not None}
    if not fixed:
        return None
    if len(fixed) > 1 or None in sizes:
        raise BadInputError("the inputs differ in their first dimension: it has to be the batch of all of them")
    return fixed.pop()


def free_batch(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    """A copy that takes any batch: Reshape targets that count samples get -1 there; the caller checks what it computes.

    `feeds` hold one batch of the built-in size.
    """
    graph = Graph(model)
    reshapes = [node for node in graph.nodes if node.op_type == "Reshape"]
    made = Reference(model, [node.output[0] for node in reshapes]).run(feeds)
    for node in reshapes:
        target = np.array([-1, *made[node.output[0]].shape[1:]], np.int64)
        graph.set_input(node, 1, graph.add_constant(f"{node.output[0]}_shape", target))
        set_attribute(node, "allowzero", 0)
    freed = graph.model()
    for value in freed.graph.input:
        _declare(value, [None, *sizes_of(value)[1:]])
    return fix_shapes(freed, {})


def declare_outputs(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    """A copy that declares the output shapes which inference leaves open, as they are seen with `feeds`."""
    if all(value.type.tensor_type.shape.dim and None not in sizes_of(value)[1:] for value in model.graph.output):
        return model
    made, declared = Reference(model).run(feeds), onnx.ModelProto()
    declared.CopyFrom(model)
    for value in declared.graph.output:
        _declare(value, [None, *made[value.name].shape[1:]])
    return declared
