"""Rewrites that change no value: identities dropped, batch norms as arithmetic, activations moved into producers."""

from dataclasses import replace
from math import inf

import numpy as np

from edgekd.backends.tflite.graph import Array, Graph, Node, constant
from edgekd.backends.tflite.idioms import drop_expansions, split_computed_clips, take_biases
from edgekd.backends.tflite.rules import RULES
from edgekd.onnx_graph import QUANTIZERS

IDENTITIES = {"Identity", "Dropout"}
PLAIN_REDUCTIONS = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}  # of one element: that element
SHAPED = {"Reshape", "Squeeze", "Unsqueeze", "Expand", "CastLike"}
BATCH_NORM = "BatchNormalization"
FREE = "how many elements it makes depends on their values, and TFLite's tensors have a known size"
ABSENT = {
    "NonMaxSuppression": f"{FREE}: export the network without it (nms=False), and suppress boxes on the device",
    **dict.fromkeys(("Compress", "NonZero", "Unique"), f"{FREE}: use a mask and Where instead"),
}  # why an op has no TFLite form, and what to do, where that can be said of all its nodes
ADVICE = "replace it in the model, or choose a target of another backend"
PICKS = frozenset(
    {"ArgMax", "ArgMin", "Cast", "CastLike", "Clip", "Concat", "GatherElements", "GatherND", "Max", "Min", "Relu"}
    | {"ReverseSequence", "ScatterND", "TopK", "Where"}
)  # like what keeps a scale, they take bytes as they are
SHAPES = "onnx.shape_inference to see where it stops"
ACTIVATIONS = {(0.0, inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def simplify(graph: Graph) -> None:
    """Apply every rewrite, in order; raise BadInputError naming the first op that has no TFLite form."""
    _drop(graph, [node for node in graph.nodes if node.op in IDENTITIES or _reduces_nothing(graph, node)])
    _drop_target_shapes(graph)
    graph.prune()
    _check_known(graph)
    _check_bytes(graph)
    drop_expansions(graph)
    take_biases(graph)
    _split_batch_norms(graph)
    split_computed_clips(graph)
    _bound_activations(graph)
    _drop(graph, [node for node in graph.nodes if node.attributes.get("bounds") == (-inf, inf)])
    _fuse_activations(graph)


def _reduces_nothing(graph: Graph, node: Node) -> bool:
    """Whether a reduction is told to leave what it is given no axes for."""
    if node.op not in PLAIN_REDUCTIONS or not node.attributes.get("noop_with_empty_axes", 0):
        return False
    axes = graph.value(node, 1)
    return axes is None or not axes.size


def _drop(graph: Graph, identities: list[Node]) -> None:
    producers = graph.producers()
    for node in identities:
        source = node.inputs[0]
        if node.output in graph.outputs:
            if source not in producers or source in graph.outputs:  # what leaves twice, or as it came, is copied
                node.op, node.inputs, node.attributes = "Reshape", [source], {}
                continue
            graph.redirect(source, node.output)
            producers[source].rename(source, node.output)
        else:
            graph.redirect(node.output, source)
        graph.nodes.remove(node)


def _drop_target_shapes(graph: Graph) -> None:
    """The inferred output shape says it all, and what computes a shape need not be lowered."""
    for node in graph.nodes:
        if node.op in SHAPED:
            node.inputs = node.inputs[:1]
        elif node.op == "Resize":
            node.inputs = [node.inputs[0], "", *node.inputs[2:3]]


def _check_known(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op not in RULES and node.op != BATCH_NORM:
            node.refuse(ABSENT.get(node.op, f"this op has no TFLite form: {ADVICE}"))
        for name in filter(None, (*node.inputs, *node.made)):
            if name not in graph.tensors:
                node.refuse(
                    f"the shape of {name!r} cannot be inferred: fix every size but the batch's, and run {SHAPES}"
                )


def _check_bytes(graph: Graph) -> None:
    """To TFLite's arithmetic, integers of eight bits are steps of a scale, which only quantisers give them."""
    for node in graph.nodes:
        if node.op not in QUANTIZERS | PICKS | {BATCH_NORM} and not RULES[node.op].keeps_scale:
            for name in filter(None, node.inputs):
                if graph.tensors[name].dtype in (np.int8, np.uint8):
                    node.refuse(f"TFLite does not compute with {graph.tensors[name].dtype}: cast {name!r} to int32")


def _split_batch_norms(graph: Graph) -> None:
    """Those that `fold_batch_norms` left: a multiplication and an addition."""
    for node in [node for node in graph.nodes if node.op == BATCH_NORM]:
        if node.attributes.get("training_mode", 0):
            node.refuse("attribute training_mode=1: export the model in inference mode")
        gamma, beta, mean, variance = (graph.required(node, i).astype(np.float64) for i in range(1, 5))
        scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        _as_multiply_add(graph, node, scale, beta - mean * scale)


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
    bounded = [node for node in graph.nodes if node.attributes.get("bounds") in ACTIVATIONS]
    for node in [
        node for node in bounded if graph.tensors[node.output].dtype == np.float32
    ]:  # no kernel takes integers
        node.attributes["activation"] = ACTIVATIONS[node.attributes["bounds"]]
        producer = producers.get(node.inputs[0])
        if producer is None or not RULES[producer.op].fuses or "activation" in producer.attributes:
            continue
        if producer.output not in graph.outputs and len(consumers[producer.output]) == 1:
            producer.attributes["activation"], producer.output = node.attributes["activation"], node.output
            graph.nodes.remove(node)
