"""What a model's tensors are at one batch: shape and type, and the value of those that follow from shapes alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Array, constants, inferred
from edgekd.onnx_node import evaluate

Shapes = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]

LARGEST_SHAPE = 1024  # elements; inference does not look into larger constants
KEPT = QUANTIZERS | {"SplitToSequence", "SequenceAt"}


@dataclass(frozen=True)
class StaticShapes:
    """Shape and type by tensor, and the values of constants and of what is computed from them."""

    shapes: Shapes
    values: dict[str, Array]


def static_shapes(model: onnx.ModelProto, batch: int) -> StaticShapes:
    """Infer and evaluate in turn until nothing new is known; raise BadInputError where shapes contradict each other."""
    values, version = constants(model), opset(model)
    pending = [node for node in model.graph.node if node.output[0] not in values]
    while True:
        shapes = _shapes(_light(model, pending, values, batch))
        count = len(values)
        known = shapes | _types(values)
        pending = [node for node in pending if not _evaluated(node, values, known, version)]
        if len(values) == count:
            return StaticShapes(shapes | _types(values), values)


def _types(values: dict[str, Array]) -> Shapes:
    return {name: (value.shape, value.dtype) for name, value in values.items()}


def opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 when the model does not say."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def require_fixed_sizes(model: onnx.ModelProto) -> None:
    """Raise BadInputError for an input with a free dimension that is not the batch."""
    held = {tensor.name for tensor in model.graph.initializer}
    for value in (value for value in model.graph.input if value.name not in held):
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis and not size.HasField("dim_value"):
                name = f" ({size.dim_param})" if size.dim_param else ""
                raise BadInputError(
                    f"input {value.name!r}: dimension {axis}{name} is free, but only the batch may be dynamic: "
                    "give it a size in the ONNX model"
                )


def _light(model: onnx.ModelProto, nodes: list[NodeProto], values: dict[str, Array], batch: int) -> onnx.ModelProto:
    """The nodes that are left, at one batch, large constants replaced by declarations: quick to infer."""
    inputs = [value for value in model.graph.input if value.name not in values]
    initialisers = []
    for name in dict.fromkeys(name for node in nodes for name in node.input if name in values):
        value = np.asarray(values[name])
        if value.size <= LARGEST_SHAPE:
            initialisers.append(numpy_helper.from_array(value, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    graph = helper.make_graph(nodes, "shapes", inputs, [], initialisers)
    light = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    for value in light.graph.input:
        if value.type.tensor_type.shape.dim and not value.type.tensor_type.shape.dim[0].HasField("dim_value"):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return light


def _shapes(model: onnx.ModelProto) -> Shapes:
    graph = inferred(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: _shape(value.type.tensor_type) for value in values if _is_static(value.type.tensor_type)}


def _is_static(tensor: onnx.TypeProto.Tensor) -> bool:
    return tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim)


def _shape(tensor: onnx.TypeProto.Tensor) -> tuple[tuple[int, ...], np.dtype[Any]]:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return tuple(size.dim_value for size in tensor.shape.dim), dtype


def _evaluated(node: NodeProto, values: dict[str, Array], shapes: Shapes, version: int) -> bool:
    """Whether a node's results are known, which they are from now on."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        first, last = (_integer(node, name) for name in ("start", "end"))
        values[node.output[0]] = np.asarray(shapes[node.input[0]][0][first:last], np.int64)
        return True
    if node.op_type == "CastLike" and node.input[0] in values and node.input[1] in shapes:
        values[node.output[0]] = values[node.input[0]].astype(shapes[node.input[1]][1])
        return True
    if node.op_type in KEPT or node.domain or not node.input:
        return False
    if not all(name in values for name in node.input if name):
        return False
    feeds = {name: values[name] for name in node.input if name}
    values.update(evaluate(node, feeds, version))
    return True


def _integer(node: NodeProto, name: str) -> int | None:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), None)
