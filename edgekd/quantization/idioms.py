"""Operations spelled in several nodes or in an unusual word, given the word that placement and the backends know."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from edgekd.onnx_graph import Array, Graph, NodeWriter, attribute, label

GLOBAL_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def name_global_pools(graph: Graph) -> None:
    """Write reductions over all spatial axes as global pools and Flatten, which more runtimes have in int8."""
    for node in graph.nodes:
        if node.op_type in GLOBAL_POOLS and _is_spatial(graph, node):
            if not attribute(node, "keepdims", 1):
                result = node.output[0]
                graph.set_output(node, 0, graph.fresh(f"{result}_pooled"))
                graph.add("Flatten", [node.output[0]], result, axis=1)
            node.op_type = GLOBAL_POOLS[node.op_type]
            graph.set_inputs(node, node.input[:1])
            del node.attribute[:]


def _is_spatial(graph: Graph, node: NodeProto) -> bool:
    axes, shape = graph.constant(node, 1), graph.shapes.get(node.input[0])
    if axes is None or shape is None or len(shape) < 3 or _number(graph, node.input[0]) != np.float32:
        return False
    return sorted(int(axis) % len(shape) for axis in axes.ravel()) == list(range(2, len(shape)))


def name_squeezes(graph: Graph) -> None:
    """Write the one element that Gather takes of an axis of one, as x[:, :, 0, 0] exports, as Squeeze."""
    for node in [node for node in graph.nodes if node.op_type == "Gather"]:
        index, shape = graph.constant(node, 1), graph.shapes.get(node.input[0])
        axis = attribute(node, "axis", 0)
        if index is not None and index.ndim == 0 and shape is not None and shape[axis] == 1:
            node.op_type = "Squeeze"
            del node.attribute[:]
            graph.set_input(node, 1, graph.add_constant(f"{node.output[0]}_axis", np.array([axis], np.int64)))


def name_clips(graph: Graph) -> None:
    """Write Min(Max(x, low), high), as torch.clamp exports, as Clip."""
    for upper in [node for node in graph.nodes if node.op_type == "Min" and len(node.input) == 2]:
        lower = graph.producer(upper.input[0])
        if lower is None or lower.op_type != "Max" or len(lower.input) != 2:
            continue
        bounds = [graph.constant(lower, 1), graph.constant(upper, 1)]
        rank = len(graph.shapes.get(lower.input[0]) or ())
        if graph.only_consumer(lower.output[0]) is upper and all(_is_scalar(bound, rank) for bound in bounds):
            graph.remove(lower)
            operands = [
                graph.add_constant(f"{upper.output[0]}_bound", bound.reshape(()))
                for bound in bounds
                if bound is not None
            ]
            upper.op_type = "Clip"
            graph.set_inputs(upper, [lower.input[0], *operands])


def name_sums(graph: Graph) -> None:
    """Write Sum and Mean, of any number of operands, as additions of two, which runtimes have in int8."""
    for node in [node for node in graph.nodes if node.op_type in {"Sum", "Mean"}]:
        write, (total, *others) = NodeWriter(graph, label(node)), node.input
        graph.remove(node)
        for other in others:
            total = write("Add", total, other)
        if node.op_type == "Mean" and others:
            total = write("Mul", total, np.asarray(1 / len(node.input), _number(graph, node.output[0])))
        if not write.nodes:
            write("Identity", total)
        graph.set_output(write.nodes[-1], 0, node.output[0])
        write.nodes[-1].name = node.name


def _number(graph: Graph, edge: str) -> np.dtype[Any]:
    """The type of an edge's numbers; float32 where it is not known."""
    return helper.tensor_dtype_to_np_dtype(graph.types.get(edge) or TensorProto.FLOAT)


def name_splits(graph: Graph) -> None:
    """Write SplitToSequence whose pieces are taken out one by one, as torch.chunk exports, as Split."""
    for node in [node for node in graph.nodes if node.op_type == "SplitToSequence"]:
        takers = graph.consumers(node.output[0])
        places = [graph.constant(taker, 1) for taker in takers if taker.op_type == "SequenceAt"]
        sizes = _piece_sizes(graph, node)
        if sizes is not None:
            taken = [int(place.item()) % len(sizes) for place in places if place is not None]
            if len(set(taken)) == len(takers):
                _split(graph, node, sizes, dict(zip(taken, takers, strict=True)))


def _split(graph: Graph, node: NodeProto, sizes: list[int], takers: dict[int, NodeProto]) -> None:
    pieces = [takers[i].output[0] if i in takers else graph.fresh(f"{node.name}_{i}") for i in range(len(sizes))]
    for taker in takers.values():
        graph.remove(taker)
    operands = [node.input[0], graph.add_constant(f"{node.name}_sizes", np.array(sizes, np.int64))]
    graph.remove(node)
    split = graph.add("Split", operands, pieces[0], axis=attribute(node, "axis", 0))
    for index, piece in enumerate(pieces[1:], start=1):
        split.output.append(piece)
        graph.set_output(split, index, piece)


def _piece_sizes(graph: Graph, node: NodeProto) -> list[int] | None:
    """The pieces of a SplitToSequence along its axis; None where they are not known, or lose the axis."""
    sizes, shape = graph.constant(node, 1), graph.shapes.get(node.input[0])
    if sizes is None or shape is None or not attribute(node, "keepdims", 1):
        return None
    whole = shape[attribute(node, "axis", 0)]
    if sizes.ndim:
        return [int(size) for size in sizes]
    return None if whole is None else [min(int(sizes), whole - start) for start in range(0, whole, int(sizes))]


def _is_scalar(value: Array | None, rank: int) -> bool:
    """Whether a constant is one number, and adds no dimension to what has so many."""
    return value is not None and value.size == 1 and value.ndim <= rank


def name_prepended_constants(graph: Graph) -> None:
    """Write Concat(Expand(constant), x), as a class token exports, as Pad and Add, whose sizes are known."""
    for node in [node for node in graph.nodes if node.op_type == "Concat" and len(node.input) == 2]:
        makers = [graph.producer(edge) for edge in node.input]
        tokens = [i for i, maker in enumerate(makers) if maker is not None and maker.op_type == "Expand"]
        token = _repeated(graph, makers[tokens[0]]) if len(tokens) == 1 else None
        shape = graph.shapes.get(node.input[1 - tokens[0]]) if tokens else None
        if token is not None and shape is not None and _prepends(node, token, shape):
            _pad_and_add(graph, node, token, shape, first=tokens[0] == 0)


def _repeated(graph: Graph, expand: NodeProto | None) -> Array | None:
    """What an Expand repeats for each sample, one row; None where that is not known."""
    token = graph.constant(expand, 0) if expand is not None else None
    shape = graph.shapes.get(expand.output[0]) if expand is not None else None
    if token is None or shape is None or token.ndim != len(shape) or token.shape[0] != 1 or None in shape[1:]:
        return token
    return np.broadcast_to(token, (1, *(size or 1 for size in shape[1:])))


def _prepends(node: NodeProto, token: Array, shape: tuple[int | None, ...]) -> bool:
    """Whether a token only has to be repeated for each sample to lie beside a tensor of this shape."""
    axis = attribute(node, "axis") % len(shape)
    fits = token.ndim == len(shape) and axis > 0 and token.shape[0] == 1 and None not in shape[1:]
    return fits and all(i == axis or token.shape[i] == shape[i] for i in range(1, token.ndim))


def _pad_and_add(graph: Graph, node: NodeProto, token: Array, shape: tuple[int | None, ...], first: bool) -> None:
    axis, rank = attribute(node, "axis") % len(shape), len(shape)
    length = shape[axis]
    assert length is not None
    pads, block = np.zeros(2 * rank, np.int64), [(0, 0)] * rank
    pads[axis if first else rank + axis] = token.shape[axis]
    block[axis] = (0, length) if first else (length, 0)
    result, source = node.output[0], node.input[1 if first else 0]
    graph.remove(node)
    padded = graph.fresh(f"{result}_padded")
    graph.add("Pad", [source, graph.add_constant(f"{result}_pads", pads)], padded)
    graph.add("Add", [padded, graph.add_constant(f"{result}_token", np.pad(token, block))], result)
