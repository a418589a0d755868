"""Ops that order elements, and pick or replace them by indices."""

from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Array, Node
from edgekd.backends.tflite.indexing import from_the_start
from edgekd.backends.tflite.rules import Layout, float_only, rule
from edgekd.backends.tflite.writer import Writer


@rule("TopK", layout=Layout.ORDERED, refuses_int8=float_only)
def top_k(writer: Writer, node: Node) -> None:
    """TOPK_V2 takes the largest along the last axis; the smallest are the largest of the negated values."""
    tensor, count = writer.tensor(node.inputs[0]), writer.graph.required(node, 1)
    axis, smallest = node.attributes.get("axis", -1) % tensor.rank, not node.attributes.get("largest", 1)
    if tensor.signature[axis] < 0:
        node.refuse("it compares the samples of a batch: choose another axis")
    order = _last(axis, tensor.rank)
    source = _turned(writer, node.inputs[0], f"{node.output}:before", order)
    if smallest:
        source = writer.step("NEG", [source], f"{node.output}:negated")
    made = [_behind(writer, name, order) for name in node.made]
    values = writer.like(made[0], f"{made[0]}:negative") if smallest else made[0]
    number = writer.constant(f"{node.output}:count", np.asarray(count.item(), np.int32))
    writer.op("TOPK_V2", [source, number], values, schema.TopKV2OptionsT(), tuple(made[1:]))
    if smallest:
        writer.op("NEG", [values], made[0])
    for name, found in zip(node.made, made, strict=True):
        _turn_back(writer, found, name, order)


@rule("GatherElements", layout=Layout.ORDERED, refuses_int8=float_only)
def gather_elements(writer: Writer, node: Node) -> None:
    """GATHER along the last axis, each row by its own indices."""
    data, indices = (writer.tensor(name) for name in node.inputs)
    axis = node.attributes.get("axis", 0) % data.rank
    if _without(data.signature, axis) != _without(indices.signature, axis):
        node.refuse("its indices reach only a part of the data: slice the data first")
    order, chosen = _last(axis, data.rank), from_the_start(writer, node, axis)
    source = _turned(writer, node.inputs[0], f"{node.output}:before", order)
    turned = _turned(writer, chosen, f"{node.output}:places", order)
    found = _behind(writer, node.output, order)
    by_row(writer, source, turned, found, data.rank - 1)
    _turn_back(writer, found, node.output, order)


@rule("GatherND", layout=Layout.ORDERED, refuses_int8=float_only)
def gather_nd(writer: Writer, node: Node) -> None:
    """GATHER_ND; where each sample has its own indices, GATHER by places counted over the dimensions they reach."""
    data, indices = (writer.tensor(name) for name in node.inputs)
    batch, reach = node.attributes.get("batch_dims", 0), indices.shape[-1]
    sizes = data.shape[batch : batch + reach]
    chosen = from_the_start(writer, node, *range(batch, batch + reach))
    if not batch:
        return writer.op("GATHER_ND", [node.inputs[0], chosen], node.output, schema.GatherNdOptionsT())
    strides = writer.constant(f"{node.output}:strides", _strides(sizes))
    steps = writer.step("MUL", [chosen, strides], f"{node.output}:steps", schema.MulOptionsT())
    last = writer.constant(f"{node.output}:last", np.asarray([indices.rank - 1], np.int32))
    short = {"shape": indices.shape[:-1], "signature": indices.signature[:-1]}
    counted = writer.step("SUM", [steps, last], f"{node.output}:places", schema.ReducerOptionsT(), **short)
    flat = writer.like(node.inputs[0], f"{node.output}:flat", **{
        name: (*each[:batch], prod(sizes), *each[batch + reach :])
        for name, each in (("shape", data.shape), ("signature", data.signature))
    })  # fmt: skip
    writer.reshape(node.inputs[0], flat)
    return by_row(writer, flat, counted, node.output, batch)


@rule("ScatterND", layout=Layout.ORDERED, operands=None, refuses_int8=float_only)
def scatter_nd(writer: Writer, node: Node) -> None:
    """By constant indices: data and updates one after the other, of which each place gathers its own."""
    if node.attributes.get("reduction", b"none") != b"none":
        node.refuse(f"attribute reduction={node.attributes['reduction'].decode()}: only none has a TFLite form")
    data, indices = writer.tensor(node.inputs[0]), writer.graph.required(node, 1)
    reach = indices.shape[-1]
    sizes, rest = data.shape[:reach], data.shape[reach:]
    if -1 in data.signature[:reach]:
        node.refuse("its indices reach over the batch: scatter into another dimension")
    taken = np.arange(prod(sizes))
    flat = ((indices % sizes) @ _strides(sizes)).reshape(-1)
    taken[flat] = len(taken) + np.arange(len(flat))
    rows = []
    for name, source, count in (("data", node.inputs[0], len(taken)), ("updates", node.inputs[2], len(flat))):
        shape, signature = (count, *rest), (count, *data.signature[reach:])
        rows.append(writer.like(node.inputs[0], f"{node.output}:{name}", shape=shape, signature=signature))
        writer.reshape(source, rows[-1])
    options = schema.ConcatenationOptionsT()
    shape, signature = ((len(taken) + len(flat), *each[reach:]) for each in (data.shape, data.signature))
    both = writer.step("CONCATENATION", rows, f"{node.output}:both", options, shape=shape, signature=signature)
    chosen = writer.constant(f"{node.output}:places", taken.astype(np.int32))
    found = writer.step("GATHER", [both, chosen], f"{node.output}:found", schema.GatherOptionsT(),
        shape=writer.tensor(rows[0]).shape, signature=writer.tensor(rows[0]).signature)  # fmt: skip
    writer.reshape(found, node.output)


@rule("ReverseSequence", layout=Layout.ORDERED, refuses_int8=float_only)
def reverse_sequence(writer: Writer, node: Node) -> None:
    """REVERSE_SEQUENCE, by a length of its own for each sample."""
    options = schema.ReverseSequenceOptionsT()
    options.seqDim, options.batchDim = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)
    writer.op("REVERSE_SEQUENCE", node.inputs, node.output, options)


def by_row(writer: Writer, source: str, places: str, output: str, axis: int) -> None:
    """GATHER along an axis by indices of their own for all that comes before it."""
    options = schema.GatherOptionsT()
    options.axis = options.batchDims = axis
    writer.op("GATHER", [source, places], output, options)


def _strides(sizes: tuple[int, ...]) -> Array:
    return np.asarray([prod(sizes[i + 1 :]) for i in range(len(sizes))], np.int32)


def _without(sizes: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*sizes[:axis], *sizes[axis + 1 :])


def _last(axis: int, rank: int) -> tuple[int, ...]:
    """The order of dimensions that swaps an axis with the last one, and back."""
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    return tuple(order)


def _turned(writer: Writer, source: str, name: str, order: tuple[int, ...]) -> str:
    return source if list(order) == sorted(order) else writer.transposed(source, name, order)


def _behind(writer: Writer, output: str, order: tuple[int, ...]) -> str:
    """What `_turn_back` makes an output of."""
    made = writer.tensor(output)
    shape, signature = (tuple(each[axis] for axis in order) for each in (made.shape, made.signature))
    plain = list(order) == sorted(order)
    return output if plain else writer.like(output, f"{output}:turned", shape=shape, signature=signature)


def _turn_back(writer: Writer, source: str, output: str, order: tuple[int, ...]) -> None:
    if source != output:
        places = writer.constant(f"{output}:order", np.asarray(order, np.int32))
        writer.op("TRANSPOSE", [source, places], output, schema.TransposeOptionsT())
