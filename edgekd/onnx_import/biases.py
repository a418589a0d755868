"""Biases beside quantised weights, stored as the scheme stores them."""

import numpy as np
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph
from edgekd.quantization.graph_ir import BIASED
from edgekd.quantization.qdq import scale_of
from edgekd.quantization.ranges import quantize_bias
from edgekd.quantization.scheme import Scheme

INT32 = 2.0**31


def store_biases(scheme: Scheme, graph: Graph) -> bool:
    """int32 multiples of input scale × weight scale (within half a unit), or float32 (exact); whether any changed."""
    changed = False
    for node in graph.nodes:
        if node.op_type in BIASED and len(node.input) > 2 and node.input[2]:
            changed |= _store(scheme, graph, node)
    return changed


def _store(scheme: Scheme, graph: Graph, node: NodeProto) -> bool:
    unit, bias = _unit(graph, node), _value(graph, node.input[2])
    if unit is None or bias is None:
        return False
    dequantize = graph.producer(node.input[2])
    if scheme.bias == "float":
        if dequantize is None:
            return False
        graph.set_input(node, 2, graph.add_constant(f"{node.input[2]}_bias", bias))
        return True
    if dequantize is not None and (graph.constants[dequantize.input[1]] == unit).all():
        return False
    if (np.abs(bias / unit) >= INT32).any():
        return False
    name = graph.fresh(f"{node.input[2]}_dequantized")
    operands = {"quantized": quantize_bias(bias, unit), "scale": unit, "zero_point": np.zeros(unit.shape, np.int32)}
    names = [graph.add_constant(f"{name}_{key}", value) for key, value in operands.items()]
    graph.add("DequantizeLinear", names, name, axis=0)
    graph.set_input(node, 2, name)
    return True


def _unit(graph: Graph, node: NodeProto) -> Array | None:
    """Input scale × weight scale, one per output channel; None where either is float."""
    weights = graph.producer(node.input[1])
    scale, bias = scale_of(graph, node.input[0]), _value(graph, node.input[2])
    if scale is None or bias is None or weights is None or weights.op_type != "DequantizeLinear":
        return None
    unit: Array = np.float32(scale) * graph.constants[weights.input[1]].reshape(-1)
    return np.ascontiguousarray(np.broadcast_to(unit, bias.shape)) if unit.size in {1, bias.size} else None


def _value(graph: Graph, edge: str) -> Array | None:
    """A bias as the float32 that it stands for; None where it is computed."""
    node = graph.producer(edge)
    if node is None:
        value = graph.constants.get(edge)
        return value if value is not None and value.ndim == 1 else None
    if node.op_type != "DequantizeLinear" or node.input[0] not in graph.constants:
        return None
    stored, scale, zero_point = (graph.constants[name] for name in node.input)
    return ((stored.astype(np.int64) - zero_point) * scale.astype(np.float32)).astype(np.float32)
