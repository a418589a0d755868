"""GroupNormalization of opset 18 to 20, which has a scale for each group: onnx deprecates it, ONNX Runtime runs it."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgekd.onnx_graph import STANDARD, attribute, label

DEPRECATED = range(18, 21)


def write_out_group_norms(model: onnx.ModelProto, opset: int) -> None:
    """Replace it in the main graph by what it is defined as: InstanceNormalization over a dimension of groups."""
    graph = model.graph
    if opset in DEPRECATED and any(map(_is_one, graph.node)):
        nodes = [part for node in graph.node for part in (_parts(graph, node) if _is_one(node) else [node])]
        del graph.node[:]
        graph.node.extend(nodes)


def _is_one(node: NodeProto) -> bool:
    return node.op_type == "GroupNormalization" and node.domain in STANDARD and len(node.input) == 3


def _parts(graph: onnx.GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    (source, scale, bias), made = node.input, node.output[0]
    split, shape, grouped, normal = (f"{made}_{part}" for part in ("split", "shape", "grouped", "normal"))
    sizes = np.array([0, attribute(node, "num_groups"), -1], np.int64)
    graph.initializer.append(numpy_helper.from_array(sizes, split))
    epsilon = attribute(node, "epsilon", 1e-5)
    yield helper.make_node("Shape", [source], [shape])
    yield helper.make_node("Reshape", [source, split], [grouped])
    yield helper.make_node("InstanceNormalization", [grouped, scale, bias], [normal], label(node), epsilon=epsilon)
    yield helper.make_node("Reshape", [normal, shape], [made])
