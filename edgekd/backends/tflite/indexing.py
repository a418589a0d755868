"""Ops that pick elements: slices, gathers, expansions."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Array, Graph, Node
from edgekd.backends.tflite.rules import Layout, float_only, rule
from edgekd.backends.tflite.writer import Writer


@rule("Slice", layout=Layout.FOLLOW, keeps_scale=True)
def slice_(writer: Writer, node: Node) -> None:
    """Nothing where it takes everything."""
    tensor, made = writer.tensor(node.inputs[0]), writer.tensor(node.output)
    ranges = [(0, size, 1) for size in tensor.shape]
    for axis, start, end, step in _limits(writer.graph, node, tensor.rank):
        place = node.axis(axis, tensor.rank)
        ranges[place] = _range(tensor.shape[place], start, end, step)
        if tensor.signature[place] < 0 and (made.signature[place] > 0 or ranges[place][0]):
            node.refuse("it slices the batch: slice another dimension")
    if tensor.signature == made.signature and all(step == 1 for _, _, step in ranges):
        return writer.alias(node.output, node.inputs[0])
    return strided_slice(writer, node.inputs[0], node.output, ranges)


def _limits(graph: Graph, node: Node, rank: int) -> list[tuple[int, int, int, int]]:
    starts, ends = graph.required(node, 1).tolist(), graph.required(node, 2).tolist()
    axes, steps = graph.value(node, 3), graph.value(node, 4)
    return list(
        zip(
            range(len(starts)) if axes is None else (int(axis) % rank for axis in axes),
            starts,
            ends,
            [1] * len(starts) if steps is None else steps.tolist(),
            strict=True,
        )
    )


def _range(size: int, start: int, end: int, step: int) -> tuple[int, int, int]:
    """ONNX clamps both ends as Python does; an end before the first element, going back, is -1."""
    return slice(start, None if step < 0 and end < -size else end, step).indices(size)


def strided_slice(writer: Writer, source: str, output: str, ranges: list[tuple[int, int, int]]) -> None:
    """STRIDED_SLICE by (begin, end, step) of each dimension; whole dimensions stay open for any batch.

    XNNPACK takes it, unlike SLICE with an open size.
    """
    options, shape = schema.StridedSliceOptionsT(), writer.tensor(source).shape
    for place, (begin, end, step) in enumerate(ranges):
        whole = (begin, end) == (0, shape[place])
        options.beginMask |= whole << place
        options.endMask |= (whole or (step < 0 and end < 0)) << place
    columns = zip(("begin", "end", "steps"), zip(*ranges, strict=True), strict=True)
    operands = [writer.constant(f"{output}:{name}", np.asarray(values, np.int32)) for name, values in columns]
    writer.op("STRIDED_SLICE", [source, *operands], output, options)


@rule("Gather", layout=Layout.ORDERED, keeps_scale=True)
def gather(writer: Writer, node: Node) -> None:
    """Rows of a table by computed indices, or one element by a constant one."""
    tensor = writer.tensor(node.inputs[0])
    axis = node.attributes.get("axis", 0) % tensor.rank
    indices = writer.tensor(node.inputs[1]).data
    if indices is not None and indices.size == 1 and tensor.data is None and tensor.signature[axis] > 0:
        return _pick(writer, node, axis, int(indices.item()) % tensor.shape[axis])
    options = schema.GatherOptionsT()
    options.axis = axis
    return writer.op("GATHER", [node.inputs[0], from_the_start(writer, node, axis)], node.output, options)


def from_the_start(writer: Writer, node: Node, *axes: int) -> str:
    """A node's indices of its data's axes, counted from the start; those that the network is given have to be so."""
    given, tensor = node.inputs[1], writer.tensor(node.inputs[0])
    indices, sizes = writer.tensor(given), np.squeeze([tensor.shape[axis] for axis in axes])
    if indices.data is not None:
        if (indices.data < 0).any() and any(tensor.signature[axis] < 0 for axis in axes):
            node.refuse("its indices count from the end of the batch: count from its start, or reach another dimension")
        return writer.constant(f"{node.output}:indices", (indices.data % sizes).astype(np.int32))
    if given in writer.graph.inputs:
        return given
    zero, behind = (
        writer.constant(f"{node.output}:{name}", np.asarray(value, indices.dtype))
        for name, value in (("zero", 0), ("sizes", sizes))
    )
    negative = writer.step("LESS", [given, zero], f"{node.output}:negative", dtype=np.dtype(bool))
    counted = writer.step("ADD", [given, behind], f"{node.output}:counted", schema.AddOptionsT())
    return writer.step("SELECT_V2", [negative, counted, given], f"{node.output}:indices", dtype=indices.dtype)


def gathered(writer: Writer, source: str, name: str, axis: int, places: Array) -> str:
    """Elements of one stored dimension at constant places; the new tensor's name."""
    tensor, options = writer.tensor(source), schema.GatherOptionsT()
    options.axis = axis
    shape, signature = ((*s[:axis], len(places), *s[axis + 1 :]) for s in (tensor.shape, tensor.signature))
    chosen = writer.constant(f"{name}:places", np.asarray(places, np.int32))
    return writer.step("GATHER", [source, chosen], f"{name}:taken", options, shape=shape, signature=signature)


def _pick(writer: Writer, node: Node, axis: int, index: int) -> None:
    tensor = writer.tensor(node.inputs[0])
    ranges = [(0, size, 1) for size in tensor.shape]
    ranges[axis] = (index, index + 1, 1)
    shape, signature = ((*s[:axis], 1, *s[axis + 1 :]) for s in (tensor.shape, tensor.signature))
    picked = writer.like(node.inputs[0], f"{node.output}:picked", shape=shape, signature=signature)
    strided_slice(writer, node.inputs[0], picked, ranges)
    writer.reshape(picked, node.output)


@rule("Tile", layout=Layout.ORDERED, keeps_scale=True)
def tile(writer: Writer, node: Node) -> None:
    """TILE by constant counts."""
    counts = writer.constant(f"{node.output}:counts", writer.graph.required(node, 1).astype(np.int32))
    writer.op("TILE", [node.inputs[0], counts], node.output, schema.TileOptionsT())


@rule("Expand", layout=Layout.FOLLOW, refuses_int8=float_only)
def expand(writer: Writer, node: Node) -> None:
    """A sum with zeros of the new shape; those that follow the batch are made of the model's input."""
    x, made = writer.tensor(node.inputs[0]), writer.tensor(node.output)
    if made.signature.count(-1) > 1:
        node.refuse("more than one dimension follows the batch: reshape before it")
    axis = made.signature.index(-1) if -1 in made.signature else 0
    own = axis - made.rank + x.rank  # where x has it, from the end
    grows = made.signature[axis] < 0 and (own < 0 or x.signature[own] > 0)
    fixed = tuple(1 if size < 0 else size for size in made.signature)
    source, code = node.inputs[0], "LOGICAL_OR" if made.dtype == bool else "ADD"
    options = None if code == "LOGICAL_OR" else schema.AddOptionsT()
    if x.data is not None:
        source = writer.constant(f"{node.output}:expanded", np.broadcast_to(x.data, fixed).copy())
    elif not grows or x.signature != fixed:
        zeros = writer.constant(f"{node.output}:zeros", np.zeros(fixed, made.dtype))
        whole = writer.like(node.output, f"{node.output}:whole", shape=fixed, signature=fixed) if grows else node.output
        writer.op(code, [source, zeros], whole, options)
        source = whole
    if grows:
        writer.op(code, [source, _zero_per_sample(writer, node.output, axis)], node.output, options)
    elif x.data is not None:
        writer.alias(node.output, source)


def _zero_per_sample(writer: Writer, like: str, axis: int) -> str:
    """Zeros of as many samples as the input has, along an axis, of the type and rank of another tensor."""
    made, first = writer.tensor(like), writer.graph.inputs[0]
    source, rank = writer.tensor(first), writer.tensor(first).rank
    one, open_one = (source.shape[0], *[1] * (rank - 1)), (-1, *[1] * (rank - 1))
    picked = writer.like(first, f"{like}:sample", shape=one, signature=open_one)
    strided_slice(writer, first, picked, [(0, source.shape[0], 1), *[(0, 1, 1)] * (rank - 1)])
    shape, signature = (tuple(size if i == axis else 1 for i in range(made.rank)) for size in (source.shape[0], -1))
    flat = writer.like(picked, f"{like}:flat", shape=shape, signature=signature)
    writer.reshape(picked, flat)
    number = np.dtype(np.float32)
    if source.dtype != number:
        flat = writer.step("CAST", [flat], f"{like}:number", schema.CastOptionsT(), dtype=number, quantisation=None)
    zero = writer.constant(f"{like}:zero", np.asarray(0, np.float32))
    zeros = writer.step("MUL", [flat, zero], f"{like}:none", schema.MulOptionsT())
    if made.dtype == number:
        return zeros
    return writer.step("CAST", [zeros], f"{like}:typed", schema.CastOptionsT(), dtype=made.dtype)
