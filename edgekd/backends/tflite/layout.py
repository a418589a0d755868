"""Channels last: maps and sequences are stored as TFLite's kernels want them, transposed where two rules disagree."""

from dataclasses import replace

from edgekd.backends.tflite.graph import Array, Graph, Node, Tensor, constant
from edgekd.backends.tflite.rules import RULES, Layout

CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
CHANNELS_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2)}


def arrange(graph: Graph) -> set[str]:
    """Rewrite the graph's shapes and insert the transposes; returns the tensors that are stored channels last.

    Inputs and outputs of rank 4 are among them, those of rank 3 keep ONNX's order.
    """
    stored = {name for name in graph.inputs if graph.tensors[name].rank == 4}
    for name in stored:
        graph.tensors[name] = _permuted(graph.tensors[name], CHANNELS_LAST[4])
    transposes: dict[str, Node] = {}
    for node in list(graph.nodes):
        _arrange(graph, node, stored, transposes)
        if node.op == "Transpose":
            transposes[node.output] = node
    for name in graph.outputs:
        if name in stored and graph.tensors[name].rank == 3:
            _restore_output(graph, name, stored)
    graph.prune()
    return stored


def _arrange(graph: Graph, node: Node, stored: set[str], transposes: dict[str, Node]) -> None:
    layout = RULES[node.op].layout(node, graph)
    if layout is Layout.SPATIAL and graph.tensors[node.inputs[0]].rank not in CHANNELS_LAST:
        if node.op == "Resize" and graph.tensors[node.inputs[0]].rank == len("NCDHW"):
            node.refuse(
                "volumes are resized by known scales, channels not among them, and to the nearest by exact ones"
            )
        node.refuse("only 1-D and 2-D maps (rank 3 and 4, channels second) have a TFLite form")
    images = [name for name in dict.fromkeys(node.inputs) if name and _is_image(graph.tensors[name])]
    if layout is Layout.SPATIAL or (layout is Layout.FOLLOW and _follows(graph, node, images, stored)):
        rank = graph.tensors[images[0]].rank
        node.order = CHANNELS_LAST[rank]
        operands = node.inputs[: RULES[node.op].operands]
        for name in images:
            if (name in operands) != (name in stored):  # parameters are read in ONNX's own order
                orders = CHANNELS_LAST if name in operands else CHANNELS_FIRST
                _transpose(graph, node, name, orders[graph.tensors[name].rank], transposes)
        if layout is Layout.FOLLOW:
            _permute_constants(graph, node)
        if graph.tensors[node.output].rank == rank:
            _store(graph, node.output, stored)
    elif node.op == "Transpose" and node.inputs[0] in stored:
        order = CHANNELS_LAST[graph.tensors[node.inputs[0]].rank]
        node.attributes["perm"] = tuple(order.index(axis) for axis in node.permutation(len(order)))
    elif layout is Layout.MEMORY and node.inputs[0] in stored and _keeps_channels(graph, node):
        _store(graph, node.output, stored)
    else:
        for name in images:
            if name in stored and not (layout is Layout.MEMORY and _same_memory(graph.tensors[name])):
                order = CHANNELS_FIRST[graph.tensors[name].rank]
                _transpose(graph, node, name, order, transposes)


def _is_image(tensor: Tensor) -> bool:
    return tensor.rank in CHANNELS_LAST and tensor.data is None


def _follows(graph: Graph, node: Node, images: list[str], stored: set[str]) -> bool:
    """Whether a node can work on channels last: something is stored so, and all it computes with has one rank."""
    operands = [graph.tensors[name] for name in node.inputs[: RULES[node.op].operands] if name]
    ranks = {tensor.rank for tensor in operands if tensor.data is None and tensor.rank}
    constants = max((tensor.rank for tensor in operands if tensor.data is not None), default=0)
    largest = max(constants, graph.tensors[node.output].rank)
    return len(ranks) == 1 and largest <= max(ranks) and any(name in stored for name in images)


def _store(graph: Graph, name: str, stored: set[str]) -> None:
    tensor = graph.tensors[name]
    stored.add(name)
    graph.tensors[name] = _permuted(tensor, CHANNELS_LAST[tensor.rank])


def _same_memory(tensor: Tensor) -> bool:
    """Whether a tensor stored channels last holds its elements in ONNX's order."""
    *places, channels = tensor.shape[1:]
    return channels == 1 or all(size == 1 for size in places)


def _keeps_channels(graph: Graph, node: Node) -> bool:
    """Whether a reshape leaves batch and channels as they are, and only folds or unfolds the places."""
    before, after = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    outer = after.rank in CHANNELS_LAST and (before.signature[0], before.shape[-1]) == (
        after.signature[0],
        after.shape[1],
    )
    return outer and (before.signature[0] < 0 or before.shape[0] == after.shape[0])


def _permuted(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    shape, signature = (tuple(sizes[i] for i in order) for sizes in (tensor.shape, tensor.signature))
    return replace(tensor, shape=shape, signature=signature)


def _transpose(graph: Graph, node: Node, name: str, order: tuple[int, ...], transposes: dict[str, Node]) -> None:
    """Let `node` read `name` in the other layout.

    A transpose that exists already is used again; one that follows another starts where that one did.
    """
    output = f"{name}:turned"
    if output not in graph.tensors:
        graph.tensors[output] = replace(_permuted(graph.tensors[name], order), name=output)
        source, perm = name, order
        if name in transposes:
            before = transposes[name]
            source, perm = before.inputs[0], tuple(before.permutation(len(order))[axis] for axis in order)
        graph.nodes.insert(graph.nodes.index(node), Node("Transpose", output, [source], output, {"perm": perm}))
    node.inputs = [output if entry == name else entry for entry in node.inputs]


def _permute_constants(graph: Graph, node: Node) -> None:
    """Constant operands that broadcast are spelled for the stored order; scalars broadcast as they are."""
    for position, name in enumerate(node.inputs[: RULES[node.op].operands]):
        tensor = graph.tensors[name] if name else None
        if tensor is not None and node.order and tensor.data is not None and tensor.data.size > 1:
            permuted = _spelled(tensor.data, node.order)
            graph.tensors[f"{name}:last"] = constant(f"{name}:last", permuted, tensor.quantisation)
            node.inputs[position] = f"{name}:last"


def _spelled(data: Array, order: tuple[int, ...]) -> Array:
    return data.reshape((1,) * (len(order) - data.ndim) + data.shape).transpose(order)


def _restore_output(graph: Graph, name: str, stored: set[str]) -> None:
    inner = f"{name}:last"
    graph.tensors[inner] = replace(graph.tensors[name], name=inner)
    graph.tensors[name] = replace(_permuted(graph.tensors[name], CHANNELS_FIRST[3]), name=name)
    graph.producers()[name].output = inner
    graph.redirect(name, inner)
    stored.remove(name)
    graph.nodes.append(Node("Transpose", name, [inner], name, {"perm": CHANNELS_FIRST[3]}))
