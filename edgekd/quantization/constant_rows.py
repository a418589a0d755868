"""States that begin with the same numbers for each sample, as loops over recurrent cells do: one row instead of many.

Exporters size them by the batch (Shape, Concat, ConstantOfShape or Expand), which some runtimes cannot; arithmetic with
a whole batch repeats a row by itself, and what is computed of rows alone is a constant. The batch need not be first: an
exporter's recurrent layer has it behind its layers.
"""

import numpy as np
from onnx import NodeProto, numpy_helper

from edgekd.onnx_graph import Array, Graph, attribute

UNARY = frozenset({"Abs", "Cast", "CastLike", "Exp", "Identity", "Neg", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"})
BROADCASTING = frozenset({"Add", "Div", "Mul", "Pow", "Sub"})


def shrink_constant_rows(graph: Graph) -> None:
    """Give constants that are repeated for each sample one row, where all that reads them is arithmetic."""
    for node in graph.nodes:
        row = _row(graph, node)
        if row is not None and _repeats(graph, node.output[0], {node.output[0]}):
            graph.remove(node)
            graph.constants[node.output[0]] = row


def _row(graph: Graph, node: NodeProto) -> Array | None:
    """The one row of a constant of which one dimension alone is free; None if it is none."""
    axis = _batch(graph, node.output[0]) if node.op_type in {"ConstantOfShape", "Expand"} else None
    if axis is None:
        return None
    sizes = tuple(size or 1 for size in graph.shapes[node.output[0]])
    if node.op_type == "ConstantOfShape":
        given = attribute(node, "value")
        filler = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
        return np.full(sizes, filler.item(), filler.dtype)
    value, behind = graph.constant(node, 0), axis - len(sizes)
    if value is None or (value.ndim >= -behind and value.shape[behind] != 1):
        return None
    return np.broadcast_to(value, sizes).copy()


def _batch(graph: Graph, edge: str) -> int | None:
    """The only dimension of an edge that is free; None where there is none, or another one."""
    free = [axis for axis, size in enumerate(graph.shapes.get(edge) or ()) if size is None]
    return free[0] if len(free) == 1 else None


def _repeats(graph: Graph, edge: str, rows: set[str]) -> bool:
    """Whether all that reads a row either is arithmetic with a whole batch, or makes another row."""
    axis = _batch(graph, edge)
    if axis is None or edge in graph.outputs:
        return False
    behind = axis - len(graph.shapes[edge])
    for node in graph.consumers(edge):
        known = node.input[1:] if node.op_type == "CastLike" else ()
        others = [name for name in node.input if not {name} & {edge, *graph.constants, *rows, *known}]
        if node.op_type in BROADCASTING and others:
            if any(not _is_free(graph, name, behind) for name in others):
                return False
        elif others or not _by_row(graph, node, edge, behind):
            return False
        else:
            made = [name for name in node.output if name not in rows]
            rows.update(made)
            if not all(_repeats(graph, name, rows) for name in made):
                return False
    return True


def _is_free(graph: Graph, edge: str, behind: int) -> bool:
    """Whether the dimension so far from the end is that of a whole batch."""
    shape = graph.shapes.get(edge) or ()
    return len(shape) >= -behind and shape[behind] is None


def _by_row(graph: Graph, node: NodeProto, edge: str, behind: int) -> bool:
    """Whether an operation makes of each row what it makes of one; `behind` is where they are, from the end.

    Of a product over all rows the batch is no dimension: nothing takes it for rows.
    """
    axis = behind + len(graph.shapes[edge])
    if node.op_type in {"Split", "Concat"}:
        return attribute(node, "axis", 0) not in {axis, behind}
    if node.op_type in {"Slice", "Squeeze"}:
        place = 3 if node.op_type == "Slice" else 1
        axes = graph.constant(node, place)
        return node.input[0] == edge and axes is not None and not {axis, behind} & set(axes.reshape(-1).tolist())
    return node.op_type in UNARY | BROADCASTING | {"Gemm", "MatMul", "Transpose", "Unsqueeze"}
