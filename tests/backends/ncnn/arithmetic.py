"""A QDQ graph as ncnn's arithmetic has it, spelled in ONNX's float operations: what its outputs are exact against.

It multiplies by 1/scale instead of dividing, rounds half away from zero, and never stores -128. A layer sums integers,
which float32 holds as long as they stay below 2^24, and scales the sum once.
"""

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph

WEIGHTED = {"Conv": 0, "Gemm": 0, "MatMul": 1}  # axis of a weight's outputs


def as_ncnn(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, activations of int8 without zero points clamped at ±127."""
    graph = Graph(model)
    quantisers = [node for node in graph.nodes if node.op_type == "QuantizeLinear"]
    for node in graph.nodes:
        if node.op_type in WEIGHTED and all(_source(graph, edge) for edge in node.input[:2]):
            _sum_integers(graph, node)
    for node in quantisers:
        _round(graph, node)
    return graph.model()


def _source(graph: Graph, edge: str) -> NodeProto | None:
    maker = graph.producer(edge)
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _reciprocal(scale: Array) -> Array:
    return np.asarray(1 / scale.astype(np.float64), np.float32)


def _round(graph: Graph, node: NodeProto) -> None:
    """Q as x · (1/s), half away from zero, within ±127; its DQs as a product with s."""
    (source, *_), result, scale = node.input, node.output[0], graph.constants[node.input[1]]
    readers = graph.consumers(result)
    steps = _apply(graph, "Mul", source, _reciprocal(scale), f"{result}_steps")
    size = _apply(
        graph, "Add", graph.add("Abs", [steps], graph.fresh(f"{result}_abs")).output[0], 0.5, f"{result}_more"
    )
    whole = graph.add("Floor", [size], graph.fresh(f"{result}_floor")).output[0]
    sign = graph.add("Sign", [steps], graph.fresh(f"{result}_sign")).output[0]
    away = graph.add("Mul", [whole, sign], graph.fresh(f"{result}_away")).output[0]
    limits = [graph.add_constant(f"{result}_limit", np.float32(limit)) for limit in (-127, 127)]
    stored = graph.fresh(f"{result}_stored")
    graph.remove(node)
    graph.add("Clip", [away, *limits], stored)
    for reader in readers:
        made = reader.output[0]
        if reader.op_type == "DequantizeLinear":
            graph.remove(reader)
            graph.add("Mul", [stored, graph.add_constant(f"{made}_scale", scale)], made)
        else:
            graph.reroute(result, stored)


def _sum_integers(graph: Graph, node: NodeProto) -> None:
    """A layer of stored values, its sums scaled, then its bias, which is float."""
    x, weight = (_source(graph, edge) for edge in node.input[:2])
    assert x is not None
    assert weight is not None
    result, bias = node.output[0], graph.constants[node.input[2]] if len(node.input) > 2 else None
    stored = graph.add_constant(f"{weight.input[0]}_real", graph.constants[weight.input[0]].astype(np.float32))
    scales = [_reciprocal(graph.constants[quantiser.input[1]]) for quantiser in (x, weight)]
    factor = np.asarray(np.float32(1) / (scales[0] * scales[1]), np.float32)
    across = [-1, *[1] * (graph.constants[weight.input[0]].ndim - 2)] if node.op_type == "Conv" else [-1]
    inner = graph.fresh(f"{result}_sums")
    graph.set_inputs(node, [x.input[0], stored])
    graph.set_output(node, 0, inner)
    scaled = _apply(graph, "Mul", inner, factor.reshape(across), f"{result}_scaled" if bias is not None else result)
    if bias is not None:
        _apply(graph, "Add", scaled, bias.reshape(across), result)


def _apply(graph: Graph, kind: str, edge: str, value: object, result: str) -> str:
    constant = graph.add_constant(f"{result}_operand", np.asarray(value, np.float32))
    return graph.add(kind, [edge, constant], result).output[0]
