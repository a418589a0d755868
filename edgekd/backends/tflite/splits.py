"""Nodes with several outputs rewritten as nodes with one: every part of a Split is a Slice."""

import numpy as np
from onnx import NodeProto

from edgekd.backends.shapes import StaticShapes
from edgekd.onnx_graph import Graph, attribute

SPLITS = frozenset({"Split", "SplitToSequence"})


def slice_splits(graph: Graph, static: StaticShapes) -> None:
    """Rewrite every Split, and every SplitToSequence of which parts are taken by constant indices."""
    for node in [node for node in graph.nodes if node.op_type in SPLITS and node.input[0] in static.shapes]:
        parts = _parts(graph, node)
        sizes = _sizes(node, static, len(parts))
        if parts and sizes is not None:
            graph.remove(node)
            for taker, edge, index in parts:
                if taker is not node:
                    graph.remove(taker)
                _add_slice(graph, node, edge, sizes, index)


def _parts(graph: Graph, node: NodeProto) -> list[tuple[NodeProto, str, int]]:
    """(node that makes it, name, index) of every part that is used."""
    if node.op_type == "Split":
        return [(node, edge, index) for index, edge in enumerate(node.output) if edge]
    takers = graph.consumers(node.output[0])
    indices = [graph.constant(taker, 1) if taker.op_type == "SequenceAt" else None for taker in takers]
    found = [(taker, index) for taker, index in zip(takers, indices, strict=True) if index is not None]
    return [(taker, taker.output[0], int(index)) for taker, index in found] if len(found) == len(takers) else []


def _sizes(node: NodeProto, static: StaticShapes, count: int) -> list[int] | None:
    """Sizes of all parts along the axis; None where they are computed."""
    whole = static.shapes[node.input[0]][0][attribute(node, "axis", 0)]
    if len(node.input) > 1 and node.input[1]:
        given = static.values.get(node.input[1])
        if given is None:
            return None
        if given.ndim:
            return [int(size) for size in given]
        step = int(given)
    elif node.op_type == "Split":
        step = -(-whole // attribute(node, "num_outputs", count))
    else:
        step = 1
    return [min(step, whole - start) for start in range(0, whole, step)]


def _add_slice(graph: Graph, node: NodeProto, edge: str, sizes: list[int], index: int) -> None:
    start = sum(sizes[: index % len(sizes)])
    limits = (start, start + sizes[index], attribute(node, "axis", 0))
    operands = [graph.add_constant(f"{edge}_limit", np.array([limit], np.int64)) for limit in limits]
    graph.add("Slice", [node.input[0], *operands], edge)
