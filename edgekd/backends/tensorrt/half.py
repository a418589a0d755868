"""Float islands in float16: a strongly typed network computes in whatever types its graph declares."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from edgekd.onnx_graph import Graph, inferred
from edgekd.quantization.float_fallback import float_nodes
from edgekd.quantization.graph_ir import WEIGHTED

# Norms, exponentials of large sums and means of squares keep float32: they overflow, or lose what they subtract.
HALF = WEIGHTED | {
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "Gelu", "GlobalAveragePool", "HardSigmoid", "HardSwish",
    "LeakyRelu", "MaxPool", "Mul", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Tanh",
    "Transpose", "Unsqueeze",
}  # fmt: skip
LARGEST = float(np.finfo(np.float16).max)


def half_islands(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """The model with float convolutions, products and what lies between them in float16, and how many of these.

    Int8 layers, their scales, and the graph's inputs and outputs stay as they are.
    """
    graph = Graph(inferred(model))
    nodes = _islands(graph, [node for node, _ in float_nodes(graph) if _fits(graph, node)])
    inside = {id(node) for node in nodes}
    constants: dict[str, str] = {}
    for node in nodes:
        _halve_constants(graph, node, constants)
    for node in nodes:
        _enter(graph, node, inside)
        _leave(graph, node, inside)
    return graph.model(), sum(node.op_type in WEIGHTED for node in nodes)


def _fits(graph: Graph, node: NodeProto) -> bool:
    values = [graph.constants[edge] for edge in node.input if edge in graph.constants]
    return node.op_type in HALF and all(
        value.dtype != np.float32 or not np.abs(value).max(initial=0) > LARGEST for value in values
    )


def _islands(graph: Graph, nodes: list[NodeProto]) -> list[NodeProto]:
    """Those that hang together with a layer: two casts around a lone activation would only cost."""
    inside, reached = {id(node): node for node in nodes}, {}
    waiting = [node for node in nodes if node.op_type in WEIGHTED]
    while waiting:
        node = waiting.pop()
        if id(node) in inside and id(node) not in reached:
            reached[id(node)] = node
            waiting += [maker for edge in node.input if (maker := graph.producer(edge)) is not None]
            waiting += [reader for edge in node.output for reader in graph.consumers(edge)]
    return [node for node in nodes if id(node) in reached]


def _halve_constants(graph: Graph, node: NodeProto, known: dict[str, str]) -> None:
    for index, edge in enumerate(node.input):
        value = graph.constants.get(edge)
        if value is not None and value.dtype == np.float32:
            if edge not in known:
                known[edge] = graph.add_constant(f"{edge}_half", value.astype(np.float16))
            graph.set_input(node, index, known[edge])


def _enter(graph: Graph, node: NodeProto, inside: Iterable[int]) -> None:
    """Cast what comes from outside, once for all that read it inside."""
    for edge in dict.fromkeys(node.input):
        maker = graph.producer(edge)
        if graph.types.get(edge) == TensorProto.FLOAT and (maker is None or id(maker) not in inside):
            readers = [reader for reader in graph.consumers(edge) if id(reader) in inside]
            _redirect(graph, readers, edge, _cast(graph, edge, graph.fresh(f"{edge}_half"), TensorProto.FLOAT16))


def _leave(graph: Graph, node: NodeProto, inside: Iterable[int]) -> None:
    """Cast back what is read outside, under its own name."""
    for index, edge in enumerate(node.output):
        readers = graph.consumers(edge)
        within = [reader for reader in readers if id(reader) in inside]
        if edge in graph.outputs or len(within) < len(readers):
            half = graph.fresh(f"{edge}_half")
            graph.set_output(node, index, half)
            _redirect(graph, within, edge, half)
            _cast(graph, half, edge, TensorProto.FLOAT)


def _cast(graph: Graph, source: str, result: str, to: int) -> str:
    graph.add("Cast", [source], result, to=to)
    return result


def _redirect(graph: Graph, readers: list[NodeProto], old: str, new: str) -> None:
    for reader in readers:
        graph.set_inputs(reader, [new if edge == old else edge for edge in reader.input])
