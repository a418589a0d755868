"""NCHW to NHWC: rank-4 tensors are stored as TFLite's kernels want them, with a Transpose where two rules disagree."""

from dataclasses import replace

from edgekd.backends.tflite.graph import Array, Graph, Node, Tensor, constant
from edgekd.backends.tflite.rules import RULES, Layout

NHWC = (0, 2, 3, 1)
NCHW = (0, 3, 1, 2)


def arrange(graph: Graph) -> set[str]:
    """Rewrite the graph's shapes and insert the transposes; returns the tensors that are stored as NHWC."""
    stored = {name for name in graph.inputs if graph.tensors[name].rank == 4}
    for name in stored:
        graph.tensors[name] = _permuted(graph.tensors[name], NHWC)
    for node in list(graph.nodes):
        _arrange(graph, node, stored)
    return stored


def _arrange(graph: Graph, node: Node, stored: set[str]) -> None:
    layout = RULES[node.op].layout(node, graph)
    if layout is Layout.SPATIAL and graph.tensors[node.inputs[0]].rank != 4:
        node.refuse("only 2-D maps (rank 4, NCHW) have a TFLite form")
    images = [name for name in dict.fromkeys(node.inputs) if name and _is_image(graph.tensors[name])]
    if layout is Layout.SPATIAL or (layout is Layout.FOLLOW and any(name in stored for name in images)):
        node.order = NHWC
        for name in images:
            if name not in stored:
                _transpose(graph, node, name, NHWC, stored)
        if layout is Layout.FOLLOW:
            _permute_constants(graph, node)
        if graph.tensors[node.output].rank == 4:
            stored.add(node.output)
            graph.tensors[node.output] = _permuted(graph.tensors[node.output], NHWC)
        return
    for name in images:
        if name in stored and not (layout is Layout.MEMORY and _same_memory(graph.tensors[name])):
            _transpose(graph, node, name, NCHW, stored)


def _is_image(tensor: Tensor) -> bool:
    return tensor.rank == 4 and tensor.data is None


def _same_memory(tensor: Tensor) -> bool:
    """Whether a tensor stored as NHWC holds its elements in the order of NCHW."""
    _, height, width, channels = tensor.shape
    return channels == 1 or height * width == 1


def _permuted(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    shape, signature = (tuple(sizes[i] for i in order) for sizes in (tensor.shape, tensor.signature))
    return replace(tensor, shape=shape, signature=signature)


def _transpose(graph: Graph, node: Node, name: str, order: tuple[int, ...], stored: set[str]) -> None:
    """Let `node` read `name` in the other layout; a transpose that exists already is used again."""
    output = f"{name}:{'nhwc' if order == NHWC else 'nchw'}"
    if output not in graph.tensors:
        graph.tensors[output] = replace(_permuted(graph.tensors[name], order), name=output)
        graph.nodes.insert(graph.nodes.index(node), Node("Transpose", output, [name], output, {"perm": order}))
        if order == NHWC:
            stored.add(output)
    node.inputs = [output if entry == name else entry for entry in node.inputs]


def _permute_constants(graph: Graph, node: Node) -> None:
    """Constant operands that broadcast against NCHW are spelled for NHWC; scalars broadcast as they are."""
    for position, name in enumerate(node.inputs[: RULES[node.op].operands]):
        tensor = graph.tensors[name]
        if tensor.data is None and tensor.rank not in (0, 4):
            node.refuse(f"input {name!r} of rank {tensor.rank} is broadcast to a rank-4 map: reshape it to rank 4")
        if tensor.data is not None and tensor.data.size > 1:
            permuted = _spelled_for_nhwc(tensor.data)
            graph.tensors[f"{name}:nhwc"] = constant(f"{name}:nhwc", permuted, tensor.quantisation)
            node.inputs[position] = f"{name}:nhwc"


def _spelled_for_nhwc(data: Array) -> Array:
    return data.reshape((1,) * (4 - data.ndim) + data.shape).transpose(NHWC)
