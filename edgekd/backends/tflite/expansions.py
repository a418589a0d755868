"""Operators of masks and constants, written as comparisons and choices."""

from collections.abc import Callable

import numpy as np
from onnx import NodeProto, numpy_helper

from edgekd.backends.shapes import StaticShapes
from edgekd.onnx_graph import Graph, NodeWriter, attribute, label


def write_out_masks(graph: Graph, static: StaticShapes) -> None:
    """Replace OneHot, Trilu and ConstantOfShape where what they need is known whatever the batch; -1 is its size."""
    for node in [node for node in graph.nodes if node.op_type in EXPANSIONS and node.input[0] in static.shapes]:
        EXPANSIONS[node.op_type](graph, node, static)


def _one_hot(graph: Graph, node: NodeProto, static: StaticShapes) -> None:
    """Compared with all places, which may be counted from the end too."""
    depth, values = (static.values.get(name) for name in node.input[1:])
    if depth is None or values is None:
        return
    shape, dtype = static.shapes[node.input[0]]
    axis, count = attribute(node, "axis", -1) % (len(shape) + 1), int(depth.item())
    places = np.arange(count).astype(dtype).reshape(-1, *[1] * (len(shape) - axis))
    graph.remove(node)
    write = NodeWriter(graph, label(node))
    indices = write("Unsqueeze", node.input[0], np.array([axis]))
    here = write("Or", write("Equal", indices, places), write("Equal", indices, places - count))
    write("Where", here, values[1].reshape(()), values[0].reshape(()), to=node.output[0])


def _trilu(graph: Graph, node: NodeProto, static: StaticShapes) -> None:
    """A choice by a constant mask, so that what is not finite goes too."""
    shape, dtype = static.shapes[node.input[0]]
    offset = static.values.get(node.input[1]) if len(node.input) > 1 and node.input[1] else np.zeros(())
    if offset is None or -1 in shape[-2:]:
        return
    whole = np.ones(shape[-2:], bool)
    cut = np.triu if attribute(node, "upper", 1) else np.tril
    graph.remove(node)
    kept = cut(whole, int(offset.item()))
    NodeWriter(graph, label(node))("Where", kept, node.input[0], np.zeros((), dtype), to=node.output[0])


def _constant_of_shape(graph: Graph, node: NodeProto, static: StaticShapes) -> None:
    given = attribute(node, "value")
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    graph.remove(node)
    NodeWriter(graph, label(node))("Expand", value, node.input[0], to=node.output[0])


EXPANSIONS: dict[str, Callable[[Graph, NodeProto, StaticShapes], None]] = {
    "ConstantOfShape": _constant_of_shape,
    "OneHot": _one_hot,
    "Trilu": _trilu,
}
