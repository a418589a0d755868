"""States that begin with the same numbers for each sample, as loops over recurrent cells do: one row instead of many.

Exporters size them by the batch (Shape, Concat, ConstantOfShape or Expand), which some runtimes cannot; arithmetic with
a whole batch repeats a row by itself, and what is computed of rows alone is a constant.
"""

import numpy as np
from onnx import NodeProto, numpy_helper

from edgekd.onnx_graph import Array, Graph, attribute

UNARY = frozenset({"Abs", "Exp", "Identity", "Neg", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"})
BROADCASTING = frozenset({"Add", "Div", "Mul", "Pow", "Sub"})


def shrink_constant_rows(graph: Graph) -> None:
    """Give constants that are repeated for each sample one row, where all that reads them is arithmetic."""
    for node in graph.nodes:
        row = _row(graph, node)
        if row is not None and _repeats(graph, node.output[0], {node.output[0]}):
            graph.remove(node)
            graph.constants[node.output[0]] = row


def _row(graph: Graph, node: NodeProto) -> Array | None:
    """The one row of a constant whose first dimension alone is free; None if it is none."""
    shape = graph.shapes.get(node.output[0]) if node.output else None
    if node.op_type not in {"ConstantOfShape", "Expand"} or not shape or shape[0] is not None or None in shape[1:]:
        return None
    sizes = (1, *(size or 1 for size in shape[1:]))
    if node.op_type == "ConstantOfShape":
        given = attribute(node, "value")
        filler = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
        return np.full(sizes, filler.item(), filler.dtype)
    value = graph.constant(node, 0)
    if value is None or (value.ndim == len(sizes) and value.shape[0] != 1):
        return None
    return np.broadcast_to(value, sizes).copy()


def _repeats(graph: Graph, edge: str, rows: set[str]) -> bool:
    """Whether all that reads a row either is arithmetic with a whole batch, or makes another row."""
    rank = len(graph.shapes.get(edge) or ())
    if edge in graph.outputs:
        return False
    for node in graph.consumers(edge):
        others = [name for name in node.input if name != edge and name not in graph.constants and name not in rows]
        if node.op_type in BROADCASTING and others:
            if any(len(graph.shapes.get(name) or ()) < rank for name in others):
                return False
        elif not _by_row(node, edge) or others:
            return False
        else:
            made = [name for name in node.output if name not in rows]
            rows.update(made)
            if not all(_repeats(graph, name, rows) for name in made):
                return False
    return True


def _by_row(node: NodeProto, edge: str) -> bool:
    if node.op_type in {"Gemm", "MatMul"}:
        return node.input[0] == edge and not attribute(node, "transA", 0)
    if node.op_type in {"Split", "Concat"}:
        return bool(attribute(node, "axis", 0))
    return node.op_type in UNARY | BROADCASTING
