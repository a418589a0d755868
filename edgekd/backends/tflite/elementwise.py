"""Arithmetic, activations and the quantisers themselves."""

from math import isinf

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import activation
from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.rules import Layout, output_is, rule
from edgekd.backends.tflite.writer import Writer

ARITHMETIC = {
    "Add": schema.AddOptionsT,
    "Sub": schema.SubOptionsT,
    "Mul": schema.MulOptionsT,
    "Div": schema.DivOptionsT,
}
INT8_ACTIVATIONS = ("RELU", "RELU6")


def _no_division(node: Node, graph: Graph) -> str:
    return "TFLite has no int8 division"


@rule("Add", "Sub", "Mul", layout=Layout.FOLLOW, operands=None, fuses=True)
@rule("Div", layout=Layout.FOLLOW, operands=None, refuses_int8=_no_division, fuses=True)
def arithmetic(writer: Writer, node: Node) -> None:
    """Both operands broadcast as in ONNX."""
    options = ARITHMETIC[node.op]()
    options.fusedActivationFunction = activation(node)
    writer.op(node.op.upper(), node.inputs, node.output, options)


def _clip_refuses_int8(node: Node, graph: Graph) -> str | None:
    return None if node.attributes.get("activation") in INT8_ACTIVATIONS else "TFLite has no int8 kernel for its bounds"


@rule("Relu", "Clip", layout=Layout.FOLLOW, refuses_int8=_clip_refuses_int8)
def clip(writer: Writer, node: Node) -> None:
    """One of TFLite's activations, or a maximum and a minimum."""
    if "activation" in node.attributes:
        return writer.op(node.attributes["activation"], node.inputs, node.output)
    low, high = node.attributes["bounds"]
    steps = [("MAXIMUM", low), ("MINIMUM", high)]
    steps = [(code, bound) for code, bound in steps if not isinf(bound)]
    source = node.inputs[0]
    for code, bound in steps:
        last = code == steps[-1][0]
        output = node.output if last else writer.like(node.output, f"{node.output}:{code.lower()}")
        limit = writer.constant(f"{node.output}:{code.lower()}:bound", np.asarray(bound, np.float32))
        writer.op(code, [source, limit], output, schema.MaximumMinimumOptionsT())
        source = output
    return None


@rule("Sigmoid", layout=Layout.FOLLOW, refuses_int8=output_is(1 / 256, -128))
def sigmoid(writer: Writer, node: Node) -> None:
    """LOGISTIC."""
    writer.op("LOGISTIC", node.inputs, node.output)


@rule("Tanh", layout=Layout.FOLLOW, refuses_int8=output_is(1 / 128, 0))
def tanh(writer: Writer, node: Node) -> None:
    """TANH."""
    writer.op("TANH", node.inputs, node.output)


def _softmax_layout(node: Node, graph: Graph) -> Layout:
    rank = graph.tensors[node.inputs[0]].rank
    over_channels = rank == 4 and node.attributes.get("axis", -1) % rank == 1
    return Layout.FOLLOW if over_channels else Layout.ORDERED


@rule("Softmax", layout=_softmax_layout, refuses_int8=output_is(1 / 256, -128))
def softmax(writer: Writer, node: Node) -> None:
    """TFLite's runs over the last axis: in NHWC, over the channels."""
    rank = writer.tensor(node.inputs[0]).rank
    axis = node.attributes.get("axis", -1)
    if node.axis(axis, rank) != rank - 1:
        node.refuse(f"attribute axis={axis}: TFLite's softmax runs over the last axis only")
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    writer.op("SOFTMAX", node.inputs, node.output, options)


@rule("QuantizeLinear", layout=Layout.FOLLOW)
def quantize(writer: Writer, node: Node) -> None:
    """Float to int8, or int8 to other parameters."""
    writer.op("QUANTIZE", node.inputs, node.output, schema.QuantizeOptionsT())


@rule("DequantizeLinear", layout=Layout.FOLLOW)
def dequantize(writer: Writer, node: Node) -> None:
    """int8 to float."""
    writer.op("DEQUANTIZE", node.inputs, node.output, schema.DequantizeOptionsT())


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
