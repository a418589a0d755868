"""Arithmetic, comparisons, type changes and the quantisers themselves."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import activation
from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.rules import Layout, float_only, rule
from edgekd.backends.tflite.writer import Writer

ARITHMETIC = {
    "Add": schema.AddOptionsT,
    "Sub": schema.SubOptionsT,
    "Mul": schema.MulOptionsT,
    "Div": schema.DivOptionsT,
}
UNARY = {
    "Abs": "ABS",
    "Ceil": "CEIL",
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Log": "LOG",
    "Neg": "NEG",
    "Not": "LOGICAL_NOT",
    "Round": "ROUND",
    "Sign": "SIGN",
    "Sin": "SIN",
    "Sqrt": "SQRT",
}
BINARY = {
    "And": "LOGICAL_AND",
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "Or": "LOGICAL_OR",
}
EXTREMES = {"Max": "MAXIMUM", "Min": "MINIMUM"}
POWERS = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}


@rule("Add", "Sub", "Mul", layout=Layout.FOLLOW, operands=None, fuses=True)
@rule("Div", layout=Layout.FOLLOW, operands=None, refuses_int8=float_only, fuses=True)
def arithmetic(writer: Writer, node: Node) -> None:
    """Both operands broadcast as in ONNX."""
    options = ARITHMETIC[node.op]()
    options.fusedActivationFunction = activation(node)
    writer.op(node.op.upper(), node.inputs, node.output, options)


@rule(*UNARY, layout=Layout.FOLLOW, refuses_int8=float_only)
def unary(writer: Writer, node: Node) -> None:
    """Ops that TFLite has under its own name."""
    writer.op(UNARY[node.op], node.inputs, node.output)


@rule(*BINARY, layout=Layout.FOLLOW, operands=None, refuses_int8=float_only)
def binary(writer: Writer, node: Node) -> None:
    """Comparisons and logic, which broadcast as in ONNX."""
    writer.op(BINARY[node.op], node.inputs, node.output)


@rule("Reciprocal", layout=Layout.FOLLOW, refuses_int8=float_only)
def reciprocal(writer: Writer, node: Node) -> None:
    """1 / x."""
    one = writer.constant(f"{node.output}:one", np.asarray(1, np.float32))
    writer.op("DIV", [one, *node.inputs], node.output, schema.DivOptionsT())


@rule("Pow", layout=Layout.FOLLOW, operands=None, refuses_int8=float_only)
def power(writer: Writer, node: Node) -> None:
    """Squares and roots have kernels of their own."""
    exponent = writer.tensor(node.inputs[1]).data
    code = POWERS.get(exponent.item()) if exponent is not None and exponent.size == 1 else None
    if code:
        return writer.op(code, node.inputs[:1], node.output)
    return writer.op("POW", node.inputs, node.output, schema.PowOptionsT())


def _refuses_other_scales(node: Node, graph: Graph) -> str | None:
    scales = [graph.tensors[name].quantisation for name in (*node.inputs, node.output)]
    return None if all(scale == scales[0] for scale in scales) else "its inputs and output are on different scales"


@rule(*EXTREMES, layout=Layout.FOLLOW, operands=None, refuses_int8=_refuses_other_scales)
def extreme(writer: Writer, node: Node) -> None:
    """Of any number of operands, two at a time."""
    best, *others = node.inputs
    for position, name in enumerate(others, 1):
        output = node.output if name is others[-1] and position == len(others) else f"{node.output}:{position}"
        writer.like(node.output, output)
        writer.op(EXTREMES[node.op], [best, name], output, schema.MaximumMinimumOptionsT())
        best = output
    if not others:
        writer.alias(node.output, best)


@rule("Where", layout=Layout.FOLLOW, operands=None, refuses_int8=float_only)
def where(writer: Writer, node: Node) -> None:
    """SELECT_V2 broadcasts all three."""
    writer.op("SELECT_V2", node.inputs, node.output, schema.SelectV2OptionsT())


@rule("Cast", "CastLike", layout=Layout.FOLLOW, refuses_int8=float_only)
def cast(writer: Writer, node: Node) -> None:
    """Towards zero, as in ONNX."""
    writer.op("CAST", node.inputs[:1], node.output, schema.CastOptionsT())


@rule("QuantizeLinear", layout=Layout.FOLLOW)
def quantize(writer: Writer, node: Node) -> None:
    """Float to int8, or int8 to other parameters."""
    writer.op("QUANTIZE", node.inputs, node.output, schema.QuantizeOptionsT())


@rule("DequantizeLinear", layout=Layout.FOLLOW)
def dequantize(writer: Writer, node: Node) -> None:
    """int8 to float."""
    writer.op("DEQUANTIZE", node.inputs, node.output, schema.DequantizeOptionsT())
