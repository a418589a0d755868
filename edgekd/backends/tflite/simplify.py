"""Rewrites that change no value: identities dropped, batch norms folded, activations moved into their producers."""

from dataclasses import replace
from math import inf

import numpy as np

from edgekd.backends.tflite.graph import Array, Graph, Node, constant
from edgekd.backends.tflite.rules import RULES

IDENTITIES = {"Identity", "Dropout"}
SHAPED = {"Reshape", "Squeeze", "Unsqueeze"}
BATCH_NORM = "BatchNormalization"
ACTIVATIONS = {(0.0, inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def simplify(graph: Graph) -> None:
    """Apply every rewrite, in order; raise BadInputError naming the first op that has no TFLite form."""
    _drop_identities(graph)
    _drop_target_shapes(graph)
    graph.prune()
    _check_known(graph)
    _split_batch_norms(graph)
    _bound_activations(graph)
    _fuse_activations(graph)


def _drop_identities(graph: Graph) -> None:
    producers = graph.producers()
    for node in [node for node in graph.nodes if node.op in IDENTITIES]:
        source = node.inputs[0]
        if node.output in graph.outputs:
            if source not in producers or source in graph.outputs:
                node.refuse("an output that is an input, a constant or another output")
            _rename_output(graph, producers[source], node.output)
        else:
            graph.redirect(node.output, source)
        graph.nodes.remove(node)


def _drop_target_shapes(graph: Graph) -> None:
    """The inferred output shape says it all, and what computes a shape need not be lowered."""
    for node in graph.nodes:
        if node.op in SHAPED:
            node.inputs = node.inputs[:1]


def _check_known(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op not in RULES and node.op != BATCH_NORM:
            node.refuse("this op has no TFLite form")
        for name in filter(None, (*node.inputs, node.output)):
            if name not in graph.tensors:
                node.refuse(f"the shape of {name!r} cannot be inferred; only the batch may be dynamic")


def _rename_output(graph: Graph, producer: Node, name: str) -> None:
    graph.redirect(producer.output, name)
    producer.output = name


def _split_batch_norms(graph: Graph) -> None:
    for node in [node for node in graph.nodes if node.op == BATCH_NORM]:
        if node.attributes.get("training_mode", 0):
            node.refuse("attribute training_mode=1: export the model in inference mode")
        scale, shift = _affine(graph, node)
        if not _fold_into_conv(graph, node, scale, shift):
            _as_multiply_add(graph, node, scale, shift)


def _affine(graph: Graph, node: Node) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (graph.required(node, i).astype(np.float64) for i in range(1, 5))
    scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return scale, beta - mean * scale


def _fold_into_conv(graph: Graph, node: Node, scale: Array, shift: Array) -> bool:
    conv = graph.producers().get(node.inputs[0])
    if conv is None or conv.op != "Conv" or conv.output in graph.outputs or len(graph.consumers()[conv.output]) > 1:
        return False
    weight = graph.tensors[conv.inputs[1]].data
    has_bias = len(conv.inputs) > 2 and conv.inputs[2]
    bias = graph.tensors[conv.inputs[2]].data if has_bias else np.zeros_like(scale)
    if weight is None or bias is None:
        return False
    folded = {
        f"{node.output}:weight": weight * scale.reshape(-1, *[1] * (weight.ndim - 1)),
        f"{node.output}:bias": bias * scale + shift,
    }
    graph.tensors |= {name: constant(name, value.astype(np.float32)) for name, value in folded.items()}
    conv.inputs, conv.output = [conv.inputs[0], *folded], node.output
    graph.nodes.remove(node)
    return True


def _as_multiply_add(graph: Graph, node: Node, scale: Array, shift: Array) -> None:
    trailing = [1] * (graph.tensors[node.inputs[0]].rank - 2)
    names = [f"{node.output}:scale", f"{node.output}:shift"]
    for name, value in zip(names, (scale, shift), strict=True):
        graph.tensors[name] = constant(name, value.astype(np.float32).reshape(-1, *trailing))
    product = f"{node.output}:scaled"
    graph.tensors[product] = replace(graph.tensors[node.output], name=product)
    position = graph.nodes.index(node)
    graph.nodes[position : position + 1] = [
        Node("Mul", f"{node.name}:multiply", [node.inputs[0], names[0]], product),
        Node("Add", f"{node.name}:add", [product, names[1]], node.output),
    ]


def _bound_activations(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op == "Relu":
            node.attributes["bounds"] = (0.0, inf)
        elif node.op == "Clip":
            low, high = graph.value(node, 1), graph.value(node, 2)
            node.attributes["bounds"] = (-inf if low is None else low.item(), inf if high is None else high.item())
            node.inputs = node.inputs[:1]


def _fuse_activations(graph: Graph) -> None:
    producers, consumers = graph.producers(), graph.consumers()
    for node in [node for node in graph.nodes if node.attributes.get("bounds") in ACTIVATIONS]:
        node.attributes["activation"] = ACTIVATIONS[node.attributes["bounds"]]
        producer = producers.get(node.inputs[0])
        if producer is None or not RULES[producer.op].fuses or "activation" in producer.attributes:
            continue
        if producer.output not in graph.outputs and len(consumers[producer.output]) == 1:
            producer.attributes["activation"], producer.output = node.attributes["activation"], node.output
            graph.nodes.remove(node)
