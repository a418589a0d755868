"""Ops that move elements and keep their values: reshapes, transposes, pads."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Graph, Node
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
    """Constant padding."""
    if node.attributes.get("mode", b"constant") != b"constant":
        node.refuse(f"attribute mode={node.attributes['mode'].decode()}: only constant padding has a TFLite form")
    pads = _amounts(node, writer.graph, writer.tensor(node.inputs[0]).rank)
    amounts = writer.constant(f"{node.output}:amounts", np.asarray(pads, np.int32))
    filler = _filler(node, writer.graph)
    if filler:
        value = writer.constant(f"{node.output}:value", np.asarray(filler, np.float32))
        return writer.op("PADV2", [node.inputs[0], amounts, value], node.output, schema.PadV2OptionsT())
    return writer.op("PAD", [node.inputs[0], amounts], node.output, schema.PadOptionsT())


def _filler(node: Node, graph: Graph) -> float:
    value = graph.value(node, 2)
    return 0.0 if value is None else float(value.item())


def _amounts(node: Node, graph: Graph, rank: int) -> list[tuple[int, int]]:
    """(before, after) of each stored dimension."""
    given, axes = graph.value(node, 1), graph.value(node, 3)
    if given is None or (given < 0).any():
        node.refuse("it needs constant pads that are not negative")
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
