"""Ops that move elements and keep their values: reshapes, transposes, pads."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Array, Graph, Node
from edgekd.backends.tflite.indexing import gathered
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", layout=Layout.MEMORY, keeps_scale=True)
def reshape(writer: Writer, node: Node) -> None:
    """To the inferred shape, the dimension that follows the batch left open so that the input can be resized."""
    output = writer.tensor(node.output)
    if output.signature.count(-1) > 1:
        node.refuse("more than one dimension of its output follows the batch")
    writer.reshape(node.inputs[0], node.output)


@rule("Transpose", layout=Layout.ORDERED, keeps_scale=True)
def transpose(writer: Writer, node: Node) -> None:
    """Also what the layout pass inserts; nothing where only the name of an order changes."""
    order = node.permutation(writer.tensor(node.inputs[0]).rank)
    if list(order) == sorted(order):
        return writer.alias(node.output, node.inputs[0])
    permutation = writer.constant(f"{node.output}:perm", np.asarray(order, np.int32))
    writer.op("TRANSPOSE", [node.inputs[0], permutation], node.output, schema.TransposeOptionsT())
    return None


def _pad_refuses_int8(node: Node, graph: Graph) -> str | None:
    return "it pads with a value other than 0" if _filler(node, graph) else None


@rule("Pad", layout=Layout.FOLLOW, keeps_scale=True, refuses_int8=_pad_refuses_int8)
def pad(writer: Writer, node: Node) -> None:
    """Constants around a tensor; what is cropped, reflected or repeated is gathered first, side by side."""
    source, pads = node.inputs[0], _amounts(node, writer.graph, writer.tensor(node.inputs[0]).rank)
    for place, pair in enumerate(pads):
        chosen = _places(node, writer.tensor(source).shape[place], pair)
        if chosen is not None:
            source = gathered(writer, source, f"{node.output}:{place}", place, chosen)
    if node.attributes.get("mode", b"constant") != b"constant":
        return writer.alias(node.output, source)
    kept = [(max(before, 0), max(after, 0)) for before, after in pads]
    if not any(map(any, kept)):
        return writer.alias(node.output, source)
    amounts = writer.constant(f"{node.output}:amounts", np.asarray(kept, np.int32))
    filler = _filler(node, writer.graph)
    if filler:
        value = writer.constant(f"{node.output}:value", np.asarray(filler, np.float32))
        return writer.op("PADV2", [source, amounts, value], node.output, schema.PadV2OptionsT())
    return writer.op("PAD", [source, amounts], node.output, schema.PadOptionsT())


def _places(node: Node, size: int, pads: tuple[int, int]) -> Array | None:
    """Which elements of a dimension are taken, negative pads cropping; None where all are."""
    mode, (before, after) = node.attributes.get("mode", b"constant"), pads
    if mode == b"constant":
        before, after = min(before, 0), min(after, 0)
    if not before and not after:
        return None
    places = np.arange(-before, size + after)
    if mode == b"edge":
        return np.clip(places, 0, size - 1)
    if mode == b"reflect":
        period = max(2 * (size - 1), 1)
        return np.minimum(places % period, -places % period)
    return places % size  # wrap, and what cropping leaves


def _filler(node: Node, graph: Graph) -> float:
    value = graph.value(node, 2)
    return 0.0 if value is None else float(value.item())


def _amounts(node: Node, graph: Graph, rank: int) -> list[tuple[int, int]]:
    """(before, after) of each stored dimension."""
    given, axes = graph.required(node, 1), graph.value(node, 3)
    padded = list(range(rank)) if axes is None else [int(axis) for axis in axes]
    amounts = [(0, 0)] * rank
    for position, axis in enumerate(padded):
        amounts[node.axis(axis, rank)] = int(given[position]), int(given[position + len(padded)])
    return amounts


@rule("Concat", layout=Layout.FOLLOW, operands=None)
def concat(writer: Writer, node: Node) -> None:
    """Inputs on another scale than the output's are moved to it first."""
    output = writer.tensor(node.output)
    options = schema.ConcatenationOptionsT()
    options.axis = node.axis(node.attributes["axis"], output.rank)
    sources = [_on_scale(writer, node, name) for name in node.inputs]
    writer.op("CONCATENATION", sources, node.output, options)


def _on_scale(writer: Writer, node: Node, name: str) -> str:
    wanted = writer.tensor(node.output).quantisation
    if writer.tensor(name).quantisation == wanted:
        return name
    moved = writer.like(name, f"{node.output}:{name}", quantisation=wanted)
    writer.op("QUANTIZE", [name], moved, schema.QuantizeOptionsT())
    return moved
