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
    "Xor": "NOT_EQUAL",
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


@rule("IsNaN", layout=Layout.FOLLOW, refuses_int8=float_only)
def is_nan(writer: Writer, node: Node) -> None:
    """What differs from itself."""
    writer.op("NOT_EQUAL", node.inputs * 2, node.output)


@rule("IsInf", layout=Layout.FOLLOW, refuses_int8=float_only)
def is_inf(writer: Writer, node: Node) -> None:
    """Of either sign, or of one."""
    below, above = (node.attributes.get(f"detect_{sign}", 1) for sign in ("negative", "positive"))
    if not below and not above:
        node.refuse("attributes detect_negative=0 and detect_positive=0: it finds nothing; leave it out")
    source = writer.step("ABS", node.inputs, f"{node.output}:size") if below and above else node.inputs[0]
    limit = writer.constant(f"{node.output}:limit", np.asarray(np.inf if above else -np.inf, np.float32))
    writer.op("EQUAL", [source, limit], node.output)


@rule("Mod", layout=Layout.FOLLOW, operands=None, refuses_int8=float_only)
def modulo(writer: Writer, node: Node) -> None:
    """FLOOR_MOD has the sign of the divisor; with `fmod` the result has that of the dividend."""
    if not node.attributes.get("fmod", 0):
        return writer.op("FLOOR_MOD", node.inputs, node.output, schema.FloorModOptionsT())
    sizes = [writer.step("ABS", [name], f"{node.output}:{i}") for i, name in enumerate(node.inputs)]
    rest = writer.like(node.output, f"{node.output}:rest")
    writer.op("FLOOR_MOD", sizes, rest, schema.FloorModOptionsT())
    sign = writer.step("SIGN", node.inputs[:1], f"{node.output}:sign")
    return writer.op("MUL", [rest, sign], node.output, schema.MulOptionsT())


@rule("Tan", layout=Layout.FOLLOW, refuses_int8=float_only)
def tangent(writer: Writer, node: Node) -> None:
    """Sine by cosine."""
    sides = [writer.step(code, node.inputs, f"{node.output}:{code.lower()}") for code in ("SIN", "COS")]
    writer.op("DIV", sides, node.output, schema.DivOptionsT())


@rule("Acos", "Asin", "Atan", layout=Layout.FOLLOW, refuses_int8=float_only)
def angle(writer: Writer, node: Node) -> None:
    """ATAN2 of two sides of a triangle: x and 1, or x and what is left beside a hypotenuse of 1."""
    x, name = node.inputs[0], node.output
    if node.op == "Atan":
        true = writer.step("EQUAL", [x, x], f"{name}:true", dtype=np.dtype(bool))
        return writer.op(
            "ATAN2",
            [x, writer.step("CAST", [true], f"{name}:one", schema.CastOptionsT(), dtype=np.dtype(np.float32))],
            name,
        )
    one = writer.constant(f"{name}:one", np.asarray(1, np.float32))
    square = writer.step("SQUARE", [x], f"{name}:square")
    rest = writer.like(square, f"{name}:rest")
    writer.op("SUB", [one, square], rest, schema.SubOptionsT())
    other = writer.step("SQRT", [rest], f"{name}:other")
    return writer.op("ATAN2", [x, other] if node.op == "Asin" else [other, x], name)


def _refuses_other_scales(node: Node, graph: Graph) -> str | None:
    scales = [graph.tensors[name].quantisation for name in (*node.inputs, node.output)]
    return None if all(scale == scales[0] for scale in scales) else "its inputs and output are on different scales"


@rule(*EXTREMES, layout=Layout.FOLLOW, operands=None, refuses_int8=_refuses_other_scales)
def extreme(writer: Writer, node: Node) -> None:
    """Of any number of operands, two at a time."""
    best, *others = node.inputs
    for position, name in enumerate(others, 1):
        output = node.output if position == len(others) else f"{node.output}:{position}"
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
    writer.op("CAST", node.inputs, node.output, schema.CastOptionsT())


@rule("QuantizeLinear", layout=Layout.FOLLOW)
def quantize(writer: Writer, node: Node) -> None:
    """Float to int8, or int8 to other parameters."""
    writer.op("QUANTIZE", node.inputs, node.output, schema.QuantizeOptionsT())


@rule("DequantizeLinear", layout=Layout.FOLLOW)
def dequantize(writer: Writer, node: Node) -> None:
    """int8 to float."""
    writer.op("DEQUANTIZE", node.inputs, node.output, schema.DequantizeOptionsT())
