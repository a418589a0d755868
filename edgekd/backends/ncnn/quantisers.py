"""QuantizeLinear and DequantizeLinear: symmetric, one scale a tensor; the float values are made when somebody asks."""

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.backends.ncnn.lowering import Lowering, Value
from edgekd.backends.ncnn.rules import rule
from edgekd.backends.ncnn.source import refuse
from edgekd.onnx_graph import Graph

LARGEST = 127  # and the smallest is its negative: ncnn stores no -128


@rule("QuantizeLinear")
def quantise(lowering: Lowering, node: NodeProto) -> None:
    """A tensor on this very grid stays as it is."""
    scale, source = scale_of(lowering, node), lowering.value(node, 0)
    if source.scale != scale:
        source = Value(stored=lowering.quantised(lowering.real(node), scale, node.input[0]), scale=scale)
    lowering.values[node.output[0]] = source


@rule("DequantizeLinear")
def dequantise(lowering: Lowering, node: NodeProto) -> None:
    """The same tensor; a constant is one already."""
    if lowering.source.integers(node.output[0]) is not None:
        return
    value = lowering.values.get(node.input[0])
    if value is None:
        refuse(node, f"{node.input[0]!r} is integer already outside the graph: give the model float inputs")
    if value.scale != scale_of(lowering, node):
        refuse(node, "its scale differs from that of its QuantizeLinear")
    lowering.values[node.output[0]] = value


def scale_of(lowering: Lowering, node: NodeProto) -> float:
    """The one scale of a quantiser; refuses one per channel, a zero point, and other types than int8."""
    scale, zero_point = (lowering.source.operand(node, place) for place in (1, 2))
    if scale is None or scale.size != 1:
        refuse(node, "ncnn takes one constant scale for a whole tensor")
    if zero_point is None or zero_point.dtype != np.int8 or zero_point.any():
        refuse(node, "ncnn has int8 without zero points: quantise for the scheme int8-symmetric")
    return float(scale.reshape(()))


def as_computed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, what its quantisers store clipped at ±127 steps."""
    graph = Graph(model)
    quantisers = [node for node in graph.nodes if node.op_type == "QuantizeLinear"]
    for node in quantisers:
        edge, scale = node.input[0], graph.constants.get(node.input[1])
        if scale is not None and scale.size == 1:
            limit = np.float32(LARGEST) * scale.reshape(())
            limits = [graph.add_constant(f"{edge}_limit", np.asarray(sign * limit, scale.dtype)) for sign in (-1, 1)]
            clipped = graph.add("Clip", [edge, *limits], graph.fresh(f"{edge}_clipped")).output[0]
            graph.set_inputs(node, [clipped, *node.input[1:]])
    return graph.model() if quantisers else model
