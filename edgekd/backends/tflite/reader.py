"""ONNX model in, graph out: constants gathered and evaluated, shapes inferred at the target's batch."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgekd import onnx_graph
from edgekd.backends.recurrent import RECURRENT, unroll
from edgekd.backends.shapes import opset, require_fixed_sizes, static_shapes
from edgekd.backends.tflite.definitions import write_out_defined
from edgekd.backends.tflite.expansions import EXPANSIONS, write_out_masks
from edgekd.backends.tflite.flat_volumes import FLATTENED, flatten_volumes
from edgekd.backends.tflite.graph import Array, Graph, Node, Tensor, constant
from edgekd.backends.tflite.known import Known
from edgekd.backends.tflite.splits import SPLITS, slice_splits
from edgekd.errors import BadInputError
from edgekd.onnx_graph import check, inferred
from edgekd.quantization.einsum import write_out_einsums
from edgekd.quantization.fold import fold_batch_norms
from edgekd.quantization.functions import name_functions
from edgekd.quantization.idioms import name_sums

OLDEST_OPSET = 13
SEVERAL = frozenset({"TopK"})  # whose further outputs have a TFLite form
NARROWER = {np.dtype(np.int64): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.float32)}


def read(model: onnx.ModelProto, batch: int) -> Graph:
    """Graph of a model; raise BadInputError for an invalid one. Tensors whose shape cannot be inferred are left out.

    A dimension is dynamic when it differs between two batches, whatever the exporter called it; a node is evaluated
    beforehand when its result is the same for both. 64-bit types become 32-bit ones.
    """
    _check_opset(model)
    check(model)
    require_fixed_sizes(model)
    plain = _plain(model, batch)
    source = onnx_graph.Graph(plain)
    _check_single_outputs(source)
    known = Known.of(plain, batch)
    tensors = {name: constant(name, _narrow(value)) for name, value in known.values.items()}
    nodes = [_node(node) for node in source.nodes if node.output[0] not in tensors]
    for name, (shape, dtype) in known.here.shapes.items():
        signature = known.signature(name)
        if name not in tensors and signature is not None:
            tensors[name] = Tensor(name, shape, signature, NARROWER.get(dtype, dtype))
    return Graph(tensors, nodes, source.inputs, source.outputs)


def _check_opset(model: onnx.ModelProto) -> None:
    if opset(model) < OLDEST_OPSET:
        raise BadInputError(f"ONNX opset {opset(model)} is too old: export with opset {OLDEST_OPSET} or later")


def _plain(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Without einsums, batch norms after layers, functions in several operations, recurrent layers and splits."""
    graph = onnx_graph.Graph(inferred(write_out_defined(model)))
    write_out_einsums(graph)
    name_sums(graph)
    fold_batch_norms(graph)
    name_functions(graph)
    if any(node.op_type in EXPANSIONS for node in graph.nodes):
        write_out_masks(graph, Known.of(graph.model(), batch))
    if any(node.op_type in FLATTENED and len(graph.shapes.get(node.input[0]) or ()) != 4 for node in graph.nodes):
        flatten_volumes(graph, Known.of(graph.model(), batch))
    if any(node.op_type in RECURRENT for node in graph.nodes):
        unroll(graph, static_shapes(graph.model(), batch))
    if any(node.op_type in SPLITS for node in graph.nodes):
        slice_splits(graph, static_shapes(graph.model(), batch))
    return graph.model()


def _narrow(value: Array) -> Array:
    """In the type that TFLite has; what does not fit into it ("to the end", in a Slice) becomes its largest value."""
    dtype = NARROWER.get(value.dtype)
    if dtype is None:
        return value
    limits: Any = np.iinfo(dtype) if dtype.kind == "i" else np.finfo(dtype)
    return np.clip(value, limits.min, limits.max).astype(dtype)


def _check_single_outputs(graph: onnx_graph.Graph) -> None:
    """Of standard operators; what is said of others is that there are none of them."""
    for node in graph.nodes:
        if (
            node.domain in onnx_graph.STANDARD
            and node.op_type not in SEVERAL
            and any(graph.consumers(name) or name in graph.outputs for name in node.output[1:] if name)
        ):
            _node(node).refuse("only its first output has a TFLite form")


def _node(node: onnx.NodeProto) -> Node:
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    made = Node(domain + node.op_type, node.name or node.output[0], list(node.input), node.output[0], attributes)
    made.others = tuple(node.output[1:]) if node.op_type in SEVERAL else ()
    return made
