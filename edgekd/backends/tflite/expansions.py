"""Operators of masks and constants, written as comparisons, choices and gathers."""

from collections.abc import Callable

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from edgekd.backends.tflite.known import Known
from edgekd.onnx_graph import Array, Graph, NodeWriter, attribute, label

MOST_CHOICES = 64  # of a ScatterElements by computed indices


def write_out_masks(graph: Graph, known: Known) -> None:
    """Replace OneHot, Trilu, ConstantOfShape and ScatterElements where what they need is known whatever the batch."""
    for node in [node for node in graph.nodes if node.op_type in EXPANSIONS]:
        EXPANSIONS[node.op_type](graph, node, known)


def _one_hot(graph: Graph, node: NodeProto, known: Known) -> None:
    """Compared with all places, which may be counted from the end too; bytes as int32."""
    depth, values = (known.values.get(name) for name in node.input[1:])
    if depth is None or values is None or node.input[0] not in known.here.shapes:
        return
    shape, dtype = known.here.shapes[node.input[0]]
    axis, count = attribute(node, "axis", -1) % (len(shape) + 1), int(depth.item())
    small = dtype in (np.int8, np.uint8)
    places = np.arange(count).astype(np.int32 if small else dtype).reshape(-1, *[1] * (len(shape) - axis))
    graph.remove(node)
    write = NodeWriter(graph, label(node))
    given = write("Cast", node.input[0], to=TensorProto.INT32) if small else node.input[0]
    indices = write("Unsqueeze", given, np.array([axis]))
    here = write("Or", write("Equal", indices, places), write("Equal", indices, places - count))
    write("Where", here, values[1].reshape(()), values[0].reshape(()), into=node.output[0])


def _trilu(graph: Graph, node: NodeProto, known: Known) -> None:
    """A choice by a constant mask, so that what is not finite goes too."""
    shape = known.signature(node.input[0])
    offset = known.values.get(node.input[1]) if len(node.input) > 1 and node.input[1] else np.zeros(())
    if offset is None or shape is None or -1 in shape[-2:]:
        return
    whole = np.ones(shape[-2:], bool)
    cut = np.triu if attribute(node, "upper", 1) else np.tril
    graph.remove(node)
    kept = cut(whole, int(offset.item()))
    NodeWriter(graph, label(node))(
        "Where", kept, node.input[0], np.zeros((), known.here.shapes[node.input[0]][1]), into=node.output[0]
    )


def _constant_of_shape(graph: Graph, node: NodeProto, known: Known) -> None:
    given = attribute(node, "value")
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    graph.remove(node)
    NodeWriter(graph, label(node))("Expand", value, node.input[0], into=node.output[0])


def _scatter_elements(graph: Graph, node: NodeProto, known: Known) -> None:
    """By constant indices one gather, by computed ones a choice for each, up to a number of them."""
    data, indices = known.signature(node.input[0]), known.signature(node.input[1])
    if data is None or indices is None or attribute(node, "reduction", b"none") != b"none":
        return
    axis = attribute(node, "axis", 0) % len(data)
    beside = (sizes[:axis] + sizes[axis + 1 :] for sizes in (data, indices))
    if data[axis] < 0 or len(set(beside)) > 1:
        return
    rows, write = _same_rows(node.input[1], axis, known), NodeWriter(graph, label(node))
    if rows is not None:
        graph.remove(node)
        _gather_rows(write, node, rows, axis, data[axis])
    elif 0 < indices[axis] <= MOST_CHOICES:
        graph.remove(node)
        _choose(write, node, axis, np.arange(data[axis]).astype(known.here.shapes[node.input[1]][1]), indices)


def _gather_rows(write: NodeWriter, node: NodeProto, rows: Array, axis: int, size: int) -> None:
    """As exporters write x[:, 1:3] = y: data and updates side by side, of which each place takes its own."""
    places = np.arange(size)
    places[rows] = size + np.arange(len(rows))
    both = write("Concat", node.input[0], node.input[2], axis=axis)
    write("Gather", both, places, axis=axis, into=node.output[0])


def _choose(write: NodeWriter, node: NodeProto, axis: int, places: Array, indices: tuple[int, ...]) -> None:
    """As a mask of the largest is made: each update stands where its index names the place."""
    along = places.reshape([-1 if i == axis else 1 for i in range(len(indices))])
    index, result = write("Mod", node.input[1], np.asarray(len(places), places.dtype)), node.input[0]
    for number in range(indices[axis]):
        limits = [np.array([each]) for each in (number, number + 1, axis)]
        chosen = write("Equal", write("Slice", index, *limits), along)
        update, last = write("Slice", node.input[2], *limits), number == indices[axis] - 1
        result = write("Where", chosen, update, result, into=node.output[0] if last else "")


def _same_rows(indices: str, axis: int, known: Known) -> Array | None:
    """The indices along an axis, where they are constants and the same beside it, in any batch."""
    found = [static.values.get(indices) for static in (known.here, known.elsewhere)]
    rows = [np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1) for value in found if value is not None]
    if len(rows) < len(found):
        return None
    first: Array = rows[0][:, 0]
    return first if all(np.array_equal(each, np.tile(first, (each.shape[1], 1)).T) for each in rows) else None


EXPANSIONS: dict[str, Callable[[Graph, NodeProto, Known], None]] = {
    "ConstantOfShape": _constant_of_shape,
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "Trilu": _trilu,
}
