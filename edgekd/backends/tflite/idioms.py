"""Operations that TFLite's kernels take into themselves: biases of products, expansions of operands."""

from dataclasses import replace

import numpy as np

from edgekd.backends.tflite.graph import Graph, Node

BROADCASTING = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Or", "Pow", "Sub", "Where"}
)
BATCH = 7919  # stands for the batch where shapes are broadcast: no other dimension has this size


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


def split_computed_clips(graph: Graph) -> None:
    """A Clip between bounds that are computed, as of a spectrogram by its largest value: a Max, then a Min."""
    for node in [node for node in graph.nodes if node.op == "Clip"]:
        bounds = [(op, name) for op, name in zip(("Max", "Min"), node.inputs[1:], strict=False) if name]
        if all(graph.tensors[name].data is not None for _, name in bounds):
            continue
        steps, source = [], node.inputs[0]
        for number, (op, name) in enumerate(bounds, 1):
            output = node.output if number == len(bounds) else f"{node.output}:{op.lower()}"
            graph.tensors[output] = replace(graph.tensors[node.output], name=output)
            steps.append(Node(op, node.name, [source, name], output))
            source = output
        place = graph.nodes.index(node)
        graph.nodes[place : place + 1] = steps


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
