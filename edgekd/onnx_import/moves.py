"""Operators that only move values, between a quantised tensor and a layer: what they give is quantised like the rest.

NNCF and others leave out a quantiser that would round nothing, as behind a Flatten before a dense layer. Runtimes ask
for one around every integer kernel; a value that lies on a scale's grid passes it unchanged.
"""

from onnx import NodeProto

from edgekd.onnx_graph import Graph
from edgekd.onnx_import.qoperator import MOVING
from edgekd.quantization.graph_ir import WEIGHTED


def quantize_what_moves(graph: Graph) -> bool:
    """Repeat the quantiser of what a layer reads behind each operator that has moved it; whether any was missing."""
    layers = [node for node in graph.nodes if node.op_type in WEIGHTED]
    found = {move.output[0]: move for layer in layers for move in _moves(graph, layer.input[0])}
    for move in found.values():
        _requantize(graph, move)
    return bool(found)


def _moves(graph: Graph, edge: str) -> list[NodeProto]:
    """The operators that move a quantised tensor before it comes here, the first one first; none of a float one."""
    moves: list[NodeProto] = []
    maker = graph.producer(edge)
    while maker is not None and maker.op_type in MOVING and len(maker.output) == 1 and edge not in graph.outputs:
        moves.insert(0, maker)
        edge = maker.input[0]
        maker = graph.producer(edge)
    on_grid = maker is not None and maker.op_type == "DequantizeLinear" and _one_scale(graph, maker)
    return moves if on_grid else []


def _one_scale(graph: Graph, dequantize: NodeProto) -> bool:
    scale = graph.constant(dequantize, 1)
    return scale is not None and scale.size == 1 and dequantize.input[0] not in graph.constants


def _requantize(graph: Graph, move: NodeProto) -> None:
    dequantize = graph.producer(move.input[0])
    assert dequantize is not None
    constants, moved = list(dequantize.input[1:]), move.output[0]
    inner = graph.fresh(f"{moved}_moved")
    graph.set_output(move, 0, inner)
    integers = graph.add("QuantizeLinear", [inner, *constants], graph.fresh(f"{moved}_integers")).output[0]
    graph.add("DequantizeLinear", [integers, *constants], moved)
