"""An ONNX graph as the neutral view that placement reads."""

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, attribute
from edgekd.quantization.fold import layer_name
from edgekd.quantization.graph_ir import WEIGHTED, Op, View


def view_of(model: onnx.ModelProto) -> View:
    """The view of a model that `clean` has made plain."""
    graph = Graph(model)
    return View(tuple(_op(graph, node) for node in graph.nodes), tuple(graph.inputs), tuple(graph.outputs))


def _op(graph: Graph, node: NodeProto) -> Op:
    edges = tuple(name for name in node.input if name and name not in graph.constants)
    weight = graph.constant(node, 1) if node.op_type in WEIGHTED else None
    constant = weight is not None
    if node.op_type == "Add":
        constant = len(edges) == 1
    name = layer_name(node) if constant and node.op_type in WEIGHTED else node.name
    arithmetic = weight is not None and whole(weight) and graph.constant(node, 2) is None
    return Op(name, _kind(graph, node), edges, tuple(edge for edge in node.output if edge), constant, arithmetic)


def _kind(graph: Graph, node: NodeProto) -> str:
    """The node's type, or a word that no rule knows where its attributes give it another meaning."""
    if node.op_type == "Clip" and not _is_zero(graph.constant(node, 1)):
        return "Clamp"
    if node.op_type == "Pad" and not _pads_zeros(graph, node):
        return "Border"
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or not attribute(node, "transB", 0)):
        return "Product"
    if node.op_type == "MaxPool" and len(node.output) > 1:
        return "ArgMaxPool"
    if node.op_type == "ConvTranspose" and attribute(node, "group", 1) != 1:
        return "GroupedConvTranspose"
    if node.op_type == "Resize" and attribute(node, "mode", b"nearest") == b"cubic":
        return "Cubic"
    if node.op_type == "Gather" and (node.input[0] in graph.constants or node.input[1] not in graph.constants):
        return "Embedding"
    if node.op_type == "Concat" and any(name in graph.constants for name in node.input):
        return "Join"
    return node.op_type


def _pads_zeros(graph: Graph, node: NodeProto) -> bool:
    absent = len(node.input) < 3 or not node.input[2]
    return attribute(node, "mode", b"constant") == b"constant" and (absent or _is_zero(graph.constant(node, 2)))


def _is_zero(value: Array | None) -> bool:
    return value is not None and value.size == 1 and float(value.reshape(())) == 0


def whole(weight: Array) -> bool:
    """Return whether all weights are whole numbers, as no training leaves them."""
    return bool(np.array_equal(weight, np.rint(weight)))
