"""Operations that change nothing, undo or repeat each other, taken out."""

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, attribute, set_attribute
from edgekd.onnx_import.same import DRAWING

NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0, "Pow": 1.0}
COMMUTING = frozenset({"Add", "Mul"})
REGROUPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})  # they keep the order of elements
EVERYTHING = 2**31 - 1  # the least that exporters write for the end of a Slice that goes on to the last
SMALL = 64  # elements of a constant that is compared by value


def drop_no_ops(graph: Graph) -> None:
    """Take out what hands its input on: Identity and Dropout, x + 0, x · 1, a Cast or Reshape to what is there.

    Nothing is concatenated that is empty.
    """
    for node in graph.nodes:
        if node.op_type == "Concat":
            _drop_empty(graph, node)
        index = _handed_on(graph, node)
        if index is not None and not any(graph.consumers(edge) for edge in node.output[1:]):
            graph.set_inputs(node, [node.input[index], *node.input[:index], *node.input[index + 1 :]])
            graph.bypass(node)


def _drop_empty(graph: Graph, node: NodeProto) -> None:
    axis = attribute(node, "axis")
    full = [name for name in node.input if not (shape := graph.shapes.get(name)) or shape[axis] != 0]
    if 0 < len(full) < len(node.input):
        graph.set_inputs(node, full)


def _handed_on(graph: Graph, node: NodeProto) -> int | None:
    """Which operand a node hands on, if it does."""
    if node.op_type in {"Identity", "Dropout"}:
        return None if attribute(node, "training_mode", 0) or graph.constants.keys() & set(node.input[2:]) else 0
    if node.op_type in NEUTRAL:
        return next((1 - i for i in _constants_at(graph, node) if _is_neutral(graph, node, i)), None)
    if node.op_type == "Concat":
        return 0 if len(node.input) == 1 else None
    if node.op_type == "Slice":
        return 0 if _takes_all(graph, node) else None
    if node.op_type == "Cast":
        return 0 if graph.types.get(node.input[0], -1) == attribute(node, "to") else None
    if node.op_type in REGROUPING:
        shape = graph.shapes.get(node.input[0])
        same = shape is not None and shape == graph.shapes.get(node.output[0]) and shape.count(None) <= 1
        return 0 if same else None
    if node.op_type == "Transpose":
        order = _order(graph, node)
        return 0 if order and order == sorted(order) else None
    return None


def _constants_at(graph: Graph, node: NodeProto) -> list[int]:
    """Where a node of two operands may have the constant that leaves the other one as it is."""
    return [i for i in ((0, 1) if node.op_type in COMMUTING else (1,)) if graph.constant(node, i) is not None]


def _takes_all(graph: Graph, node: NodeProto) -> bool:
    bounds, shape = _slice(graph, node), graph.shapes.get(node.input[0])
    return bounds is not None and all(
        start == 0 and step == 1 and end >= (shape[axis] if shape and shape[axis] is not None else EVERYTHING)
        for start, end, axis, step in zip(*bounds, strict=True)
    )


def _is_neutral(graph: Graph, node: NodeProto, index: int) -> bool:
    value, other = graph.constants[node.input[index]], graph.shapes.get(node.input[1 - index])
    enlarges = other is None or value.size != 1 or value.ndim > len(other)
    return not enlarges and bool(value.item() == NEUTRAL[node.op_type])


def merge_moves(graph: Graph) -> None:
    """Let a Reshape, Transpose or Slice read what is before those of its kind that it makes superfluous."""
    for node in graph.nodes:
        before = graph.producer(node.input[0]) if node.input else None
        if before is None:
            continue
        if node.op_type == "Reshape" and _is_explicit(graph, node):
            graph.set_input(node, 0, _source(graph, node.input[0]))
        elif node.op_type == before.op_type == "Transpose":
            _merge_transposes(graph, before, node)
        elif node.op_type == before.op_type == "Slice":
            _merge_slices(graph, before, node)


def _is_explicit(graph: Graph, node: NodeProto) -> bool:
    """Whether the target of a Reshape is known and copies no size of what it reads."""
    target = graph.constant(node, 1)
    return target is not None and bool(attribute(node, "allowzero", 0) or (target != 0).all())


def _source(graph: Graph, edge: str) -> str:
    """The first edge with the same elements in the same order."""
    maker = graph.producer(edge)
    while maker is not None and (maker.op_type in REGROUPING or _moves_ones(graph, maker)):
        edge = maker.input[0]
        maker = graph.producer(edge)
    return edge


def _moves_ones(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is a Transpose that only moves dimensions of one element."""
    shape, order = graph.shapes.get(node.input[0]) if node.input else None, _order(graph, node)
    if node.op_type != "Transpose" or shape is None or order is None:
        return False
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _order(graph: Graph, node: NodeProto) -> list[int] | None:
    """The axes of a Transpose; None where they are not known."""
    shape = graph.shapes.get(node.input[0]) if node.input else None
    default = None if shape is None else list(reversed(range(len(shape))))
    order = attribute(node, "perm", default)
    return None if order is None else list(order)


def _merge_transposes(graph: Graph, first: NodeProto, second: NodeProto) -> None:
    orders = _order(graph, first), _order(graph, second)
    if orders[0] is not None and orders[1] is not None:
        set_attribute(second, "perm", [orders[0][axis] for axis in orders[1]])
        graph.set_input(second, 0, first.input[0])


def _merge_slices(graph: Graph, first: NodeProto, second: NodeProto) -> None:
    """Those of different axes."""
    one, other, rank = _slice(graph, first), _slice(graph, second), len(graph.shapes.get(first.input[0]) or ())
    if one is None or other is None or not rank:
        return
    both = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    axes = both[2] % rank
    if len(set(axes.tolist())) == len(axes):
        words = zip(("starts", "ends", "axes", "steps"), both, strict=True)
        added = [graph.add_constant(f"{second.output[0]}_{word}", value) for word, value in words]
        graph.set_inputs(second, [first.input[0], *added])


def _slice(graph: Graph, node: NodeProto) -> list[Array] | None:
    """Starts, ends, axes and steps, as far as they are constants."""
    given = [graph.constant(node, index) for index in range(1, len(node.input))]
    if len(given) < 2 or any(value is None for value in given):
        return None
    count = len(given[0]) if given[0] is not None else 0
    defaults = [np.arange(count), np.ones(count, np.int64)]
    values = [*given, *defaults[len(given) - 2 :]]
    return [np.asarray(value, np.int64) for value in values]


def drop_repeated(graph: Graph) -> None:
    """Do once what is computed twice of the same operands."""
    done: dict[tuple[object, ...], NodeProto] = {}
    for node in graph.nodes:
        if node.op_type in DRAWING or set(node.output) & set(graph.outputs):
            continue
        same = done.setdefault(tuple(_description(graph, node)), node)
        if same is not node and len(same.output) == len(node.output):
            for edge, other in zip(node.output, same.output, strict=True):
                graph.reroute(edge, other)
            graph.remove(node)


def _description(graph: Graph, node: NodeProto) -> Iterator[object]:
    """What a node computes: equal for two that give the same."""
    yield from (node.domain, node.op_type, tuple(bool(edge) for edge in node.output))
    for name in node.input:
        value = graph.constants.get(name)
        if value is None or value.size > SMALL:
            yield name
        else:
            yield (value.dtype.str, value.shape, value.tobytes())
    for entry in sorted(node.attribute, key=lambda entry: entry.name):
        yield entry.SerializeToString(deterministic=True)
