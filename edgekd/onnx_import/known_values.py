"""What a graph computes of its constants and its sizes alone, whatever it is given: constants instead."""

import math

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Array, Graph, attribute, inferred
from edgekd.onnx_import.same import DRAWING
from edgekd.quantization.reference import Reference

FREE = -(2**40) - 1  # stands for a size that is not known, which what only moves numbers carries along
MOVES = frozenset({"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
INTEGERS = frozenset({np.dtype(np.int32), np.dtype(np.int64)})
LARGEST = 2**24  # elements that a value may have which is larger than all that it is computed of


def with_known_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants for what is known, which branches may read, too; the argument itself where nothing is."""
    graph = Graph(inferred(model))
    given = set(graph.constants)
    fold_known_values(graph)
    found = {name: value for name, value in graph.constants.items() if name not in given}
    if not found:
        return model
    known = onnx.ModelProto()
    known.CopyFrom(model)
    del known.graph.node[:]
    known.graph.node.extend(node for node in model.graph.node if not set(node.output) <= found.keys() | {""})
    known.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in found.items())
    return known


def fold_known_values(graph: Graph) -> None:
    """Make everything that is known a constant; shapes must be inferred."""
    while True:
        before = len(graph.nodes)
        _fold_sizes(graph)
        _fold_constants(graph)
        if len(graph.nodes) == before:
            return


def _fold_sizes(graph: Graph) -> None:
    """Make constants of sizes, and of what is picked out of several of which others are free."""
    partly: dict[str, Array] = {}
    for node in graph.nodes:
        value = _sizes(graph, node, partly)
        if value is None:
            continue
        if (value == FREE).any():
            partly[node.output[0]] = value
        elif node.output[0] not in graph.outputs:
            graph.constants[node.output[0]] = value
            graph.remove(node)


def _sizes(graph: Graph, node: NodeProto, partly: dict[str, Array]) -> Array | None:
    """What a node gives as far as it is known, if that is sizes; of its output's type."""
    if node.op_type in {"Shape", "Size"}:
        shape = graph.shapes.get(node.input[0])
        if shape is None:
            return None
        sizes = np.array([FREE if size is None else size for size in shape], np.int64)
        if node.op_type == "Shape":
            return sizes[attribute(node, "start", 0) : attribute(node, "end", len(sizes))]
        return np.array(FREE if FREE in sizes else math.prod(sizes), np.int64)
    operands = [partly.get(name, graph.constants.get(name)) for name in node.input]
    known = [value for value in operands if value is not None]
    if not partly.keys() & set(node.input) or len(known) < len(operands):
        return None
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(graph.types.get(node.output[0]) or TensorProto.INT64))
    if node.op_type == "Cast" and dtype in INTEGERS:
        return known[0]
    if node.op_type not in MOVES or (node.op_type != "Concat" and partly.keys() & set(node.input[1:])):
        return None
    feeds = {name: value.astype(np.int64) for name, value in zip(node.input, known, strict=True)}
    (found,) = map(np.asarray, ReferenceEvaluator(node, opsets={"": graph.opset}).run(None, feeds))
    return found if FREE in found else found.astype(dtype)


def _fold_constants(graph: Graph) -> None:
    """Compute what depends on constants alone, all at once, in ONNX Runtime; what it cannot run stays as it is."""
    known: dict[str, NodeProto] = {}
    for node in graph.nodes:
        if _is_known(graph, node, known):
            known.update((edge, node) for edge in node.output if edge)
    nodes = {id(node): node for node in known.values()}
    wanted = [edge for edge in known if any(id(reader) not in nodes for reader in graph.consumers(edge))]
    if not wanted:
        return
    try:
        found = Reference(graph.part(list(nodes.values()), wanted)).run({})
    except BadInputError:
        return
    if any(value.dtype.kind not in "biuf" for value in found.values()):  # strings
        return
    graph.constants.update(found)
    for node in nodes.values():
        graph.remove(node)


def _is_known(graph: Graph, node: NodeProto, known: dict[str, NodeProto]) -> bool:
    if node.op_type in QUANTIZERS | DRAWING or any(entry.HasField("g") or entry.graphs for entry in node.attribute):
        return False
    if not all(name in graph.constants or name in known for name in node.input if name):
        return False
    sizes = [_elements(graph, name) for name in node.input]
    return not set(node.output) & set(graph.outputs) and all(
        _elements(graph, edge) <= max(LARGEST, *sizes) for edge in node.output
    )


def _elements(graph: Graph, edge: str) -> int:
    if edge in graph.constants:
        return int(graph.constants[edge].size)
    return math.prod(size or 1 for size in graph.shapes.get(edge) or ())
