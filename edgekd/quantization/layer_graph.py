"""The layers of a quantised model as a graph for people: who reads whom, and in which precision each computes."""

from dataclasses import dataclass

import onnx

from edgekd.onnx_graph import QUANTIZERS, Graph, inferred
from edgekd.quantization.float_fallback import FLOATS, float_nodes
from edgekd.quantization.fold import layer_name


@dataclass(frozen=True)
class LayerNode:
    """One operation; `reads` are the ids of those that it reads, `why` says what keeps it in float."""

    id: str
    layer: str
    kind: str
    precision: str
    why: str | None
    reads: tuple[str, ...]


def layer_graph(model: onnx.ModelProto) -> tuple[LayerNode, ...]:
    """Return what computes with real numbers in a QDQ model, in its order; quantisers themselves are left out."""
    graph = Graph(inferred(model))
    floats = {id(node): why for node, why in float_nodes(graph)}
    shown = [
        node
        for node in graph.nodes
        if node.op_type not in QUANTIZERS and any(graph.types.get(edge) in FLOATS for edge in node.output)
    ]
    ids = {id(node): node.output[0] for node in shown}
    return tuple(
        LayerNode(
            ids[id(node)],
            layer_name(node),
            node.op_type,
            "float" if id(node) in floats else "int8",
            floats.get(id(node)),
            tuple(dict.fromkeys(ids[id(maker)] for maker in _makers(graph, node) if id(maker) in ids)),
        )
        for node in shown
    )


def _makers(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return what makes a node's inputs, quantisers left out."""
    found = []
    for edge in node.input:
        maker = graph.producer(edge)
        while maker is not None and maker.op_type in QUANTIZERS:
            maker = graph.producer(maker.input[0])
        if maker is not None:
            found.append(maker)
    return found
