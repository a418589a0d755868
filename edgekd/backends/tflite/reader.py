"""ONNX model in, graph out: constants gathered, shapes inferred at the target's batch."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgekd import onnx_graph
from edgekd.backends.tflite.graph import Graph, Node, Tensor, constant
from edgekd.errors import BadInputError
from edgekd.onnx_graph import check, inferred
from edgekd.quantization.fold import fold_batch_norms

OLDEST_OPSET = 13

Shapes = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def read(model: onnx.ModelProto, batch: int) -> Graph:
    """Graph of a model; raise BadInputError for an invalid one. Tensors whose shape cannot be inferred are left out.

    A dimension is dynamic when it differs between two batches, whatever the exporter called it.
    """
    _check_opset(model)
    check(model)
    folded = _without_batch_norms(model)
    source = onnx_graph.Graph(folded)
    _check_single_outputs(source)
    here, elsewhere = _shapes(folded, batch), _shapes(folded, batch + 1)
    tensors = {name: constant(name, data) for name, data in source.constants.items()}
    for name, (shape, dtype) in here.items():
        if name not in tensors and name in elsewhere:
            other = elsewhere[name][0]
            signature = tuple(size if size == moved else -1 for size, moved in zip(shape, other, strict=True))
            tensors[name] = Tensor(name, shape, signature, dtype)
    return Graph(tensors, [_node(node) for node in source.nodes], source.inputs, source.outputs)


def _check_opset(model: onnx.ModelProto) -> None:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if version < OLDEST_OPSET:
        raise BadInputError(f"ONNX opset {version} is too old: export with opset {OLDEST_OPSET} or later")


def _without_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = onnx_graph.Graph(model)
    fold_batch_norms(graph)
    return graph.model()


def _check_single_outputs(graph: onnx_graph.Graph) -> None:
    for node in graph.nodes:
        if any(graph.consumers(name) or name in graph.outputs for name in node.output[1:] if name):
            _node(node).refuse("only its first output has a TFLite form")


def _node(node: onnx.NodeProto) -> Node:
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    return Node(domain + node.op_type, node.name or node.output[0], list(node.input), node.output[0], attributes)


def _shapes(model: onnx.ModelProto, batch: int) -> Shapes:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.ClearField("value_info")
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in fixed.graph.input:
        if value.type.tensor_type.shape.dim and not value.type.tensor_type.shape.dim[0].HasField("dim_value"):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    graph = inferred(fixed).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: _shape(value.type.tensor_type) for value in values if _is_static(value.type.tensor_type)}


def _is_static(tensor: onnx.TypeProto.Tensor) -> bool:
    return tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim)


def _shape(tensor: onnx.TypeProto.Tensor) -> tuple[tuple[int, ...], np.dtype[Any]]:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return tuple(size.dim_value for size in tensor.shape.dim), dtype
