"""Operations that exporters spell in several nodes, given the one word that TFLite has a kernel for."""

import numpy as np

from edgekd.backends.tflite.graph import Graph, Node

BROADCASTING = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Or", "Pow", "Sub", "Where"}
)
BATCH = 7919  # stands for the batch where shapes are broadcast: no other dimension has this size


def name_gelus(graph: Graph) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2, its factors in any order, as Gelu."""
    for erf in [node for node in graph.nodes if node.op == "Erf"]:
        x = _scaled_source(graph, erf.inputs[0], 0.5**0.5)
        last = x and _whole_gelu(graph, erf, x)
        if x and last:
            position = graph.nodes.index(last)
            graph.nodes[position] = Node("Gelu", last.name, [x], last.output)
    graph.prune()


def _scaled_source(graph: Graph, name: str, factor: float) -> str | None:
    """x where `name` is x times a factor, or x divided by its inverse."""
    node = graph.producers().get(name)
    if node is None or node.op not in ("Mul", "Div"):
        return None
    for x, other in (node.inputs, node.inputs[::-1] if node.op == "Mul" else ("", "")):
        value = _scalar(graph, other)
        if value and np.isclose(value if node.op == "Mul" else 1 / value, factor, rtol=1e-4):
            return x
    return None


def _whole_gelu(graph: Graph, erf: Node, x: str) -> Node | None:
    """The multiplication that completes the product."""
    plus = _only_reader(graph, erf)
    if plus is None or plus.op != "Add" or not any(_scalar(graph, name) == 1 for name in plus.inputs):
        return None
    factor, has_x, node = 1.0, False, plus
    while factor != 0.5 or not has_x:
        reader = _only_reader(graph, node)
        if reader is None or reader.op != "Mul":
            return None
        other = next((name for name in reader.inputs if name != node.output), "")
        value = _scalar(graph, other)
        half = _scaled_source(graph, other, 0.5) == x
        has_x |= other == x or half
        factor *= value or (0.5 if half else 1.0)
        if value is None and other != x and not half:
            return None
        node = reader
    return node


def _only_reader(graph: Graph, node: Node) -> Node | None:
    readers = graph.consumers()[node.output]
    return readers[0] if len(readers) == 1 and node.output not in graph.outputs else None


def _scalar(graph: Graph, name: str) -> float | None:
    tensor = graph.tensors.get(name)
    return (
        float(tensor.data.item()) if tensor is not None and tensor.data is not None and tensor.data.size == 1 else None
    )


def take_biases(graph: Graph) -> None:
    """MatMul with constant weights, then a sum with one value per output: the layer's own bias."""
    constants = {name for name, tensor in graph.tensors.items() if tensor.data is not None}
    constants |= {node.output for node in graph.nodes if node.op == "DequantizeLinear" and node.inputs[0] in constants}
    consumers = graph.consumers()
    for node in [node for node in graph.nodes if node.op == "MatMul" and node.inputs[1] in constants]:
        readers = consumers[node.output]
        if len(readers) != 1 or readers[0].op != "Add" or node.output in graph.outputs:
            continue
        bias = next((name for name in readers[0].inputs if name in constants), "")
        if bias and graph.tensors[bias].shape == graph.tensors[node.output].shape[-1:]:
            node.inputs.append(bias)
            node.output = readers[0].output
            graph.nodes.remove(readers[0])


def drop_expansions(graph: Graph) -> None:
    """An Expand whose readers broadcast by themselves."""
    for node in [node for node in graph.nodes if node.op == "Expand" and node.output not in graph.outputs]:
        readers = graph.consumers()[node.output]
        if all(_broadcasts_without(graph, reader, node) for reader in readers):
            graph.redirect(node.output, node.inputs[0])
            graph.nodes.remove(node)


def _broadcasts_without(graph: Graph, reader: Node, expansion: Node) -> bool:
    if reader.op not in BROADCASTING:
        return False
    names = [expansion.inputs[0] if name == expansion.output else name for name in reader.inputs]
    shapes = [_at_batch(graph, name) for name in (*names, reader.output)]
    return np.broadcast_shapes(*shapes[:-1]) == shapes[-1]


def _at_batch(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(BATCH if size < 0 else size for size in graph.tensors[name].signature)
