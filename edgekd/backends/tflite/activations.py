"""Activations: those that TFLite has, and those that a few of its ops make."""

from math import isinf

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Graph, Node, Quantisation
from edgekd.backends.tflite.rules import Layout, float_only, output_is, refuses_per_channel, rule
from edgekd.backends.tflite.writer import Writer

INT8_ACTIVATIONS = ("RELU", "RELU6")
LARGEST_WEIGHT = 127
SELU = (1.6732631921768188, 1.0507010221481323)  # alpha, gamma
ERF_WIDTH = 0.3275911
ERF_POWERS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def _clip_refuses_int8(node: Node, graph: Graph) -> str | None:
    return None if node.attributes.get("activation") in INT8_ACTIVATIONS else "TFLite has no int8 kernel for its bounds"


@rule("Relu", "Clip", layout=Layout.FOLLOW, refuses_int8=_clip_refuses_int8)
def clip(writer: Writer, node: Node) -> None:
    """One of TFLite's activations, or a maximum and a minimum."""
    if "activation" in node.attributes:
        return writer.op(node.attributes["activation"], node.inputs, node.output)
    dtype = writer.tensor(node.output).dtype
    steps = zip(("MAXIMUM", "MINIMUM"), node.attributes["bounds"], strict=True)
    bounded = [(code, bound) for code, bound in steps if not isinf(bound)]
    source = node.inputs[0]
    for code, bound in bounded:
        last = code == bounded[-1][0]
        output = node.output if last else writer.like(node.output, f"{node.output}:{code.lower()}")
        limit = writer.constant(f"{node.output}:{code.lower()}:bound", np.asarray(bound, dtype))
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
    """Where channels are last, a softmax over them has its axis in place."""
    rank = graph.tensors[node.inputs[0]].rank
    return Layout.FOLLOW if rank > 2 and node.attributes.get("axis", -1) % rank == 1 else Layout.ORDERED


@rule("Softmax", layout=_softmax_layout, refuses_int8=output_is(1 / 256, -128))
@rule("LogSoftmax", layout=_softmax_layout, refuses_int8=output_is(16 / 256, 127))
def softmax(writer: Writer, node: Node) -> None:
    """TFLite's run over the last axis; another one is brought there and back."""
    options, code = schema.LogSoftmaxOptionsT(), "LOG_SOFTMAX"
    if node.op == "Softmax":
        options, code = schema.SoftmaxOptionsT(), "SOFTMAX"
        options.beta = 1.0
    tensor = writer.tensor(node.inputs[0])
    axis = node.axis(node.attributes.get("axis", -1), tensor.rank)
    if axis == tensor.rank - 1:
        return writer.op(code, node.inputs, node.output, options)
    order = list(range(tensor.rank))
    order[axis], order[-1] = order[-1], order[axis]
    before = writer.transposed(node.inputs[0], f"{node.output}:before", tuple(order))
    swap = writer.constant(f"{node.output}:order", np.asarray(order, np.int32))
    turned = writer.tensor(before)
    after = writer.like(node.output, f"{node.output}:after", shape=turned.shape, signature=turned.signature)
    writer.op(code, [before], after, options)
    return writer.op("TRANSPOSE", [after, swap], node.output, schema.TransposeOptionsT())


@rule("HardSwish", layout=Layout.FOLLOW)
def hard_swish(writer: Writer, node: Node) -> None:
    """HARD_SWISH; in float with a fixed batch its parts, for Vela does not read a file with the whole."""
    if writer.tensor(node.inputs[0]).quantisation is not None or not writer.graph.fixed_batch:
        return writer.op("HARD_SWISH", node.inputs, node.output, schema.HardSwishOptionsT())
    gate = _risen(writer, node, 1 / 6, 0.5, writer.like(node.output, f"{node.output}:gate"))
    return writer.op("MUL", [node.inputs[0], gate], node.output, schema.MulOptionsT())


@rule("Gelu", layout=Layout.FOLLOW)
def gelu(writer: Writer, node: Node) -> None:
    """GELU, exact or by tanh."""
    options = schema.GeluOptionsT()
    options.approximate = node.attributes.get("approximate", b"none") == b"tanh"
    writer.op("GELU", node.inputs, node.output, options)


@rule("LeakyRelu", layout=Layout.FOLLOW)
def leaky_relu(writer: Writer, node: Node) -> None:
    """LEAKY_RELU."""
    options = schema.LeakyReluOptionsT()
    options.alpha = node.attributes.get("alpha", 0.01)
    writer.op("LEAKY_RELU", node.inputs, node.output, options)


@rule("PRelu", layout=Layout.FOLLOW, operands=None)
def prelu(writer: Writer, node: Node) -> None:
    """One slope per channel, or one for all."""
    writer.op("PRELU", node.inputs, node.output)


@rule("Elu", "Celu", "Selu", layout=Layout.FOLLOW, refuses_int8=float_only)
def elu(writer: Writer, node: Node) -> None:
    """gain · (max(x, 0) + alpha · ELU(min(x, 0) / width)); TFLite's ELU has none of the three."""
    alpha = node.attributes.get("alpha", SELU[0] if node.op == "Selu" else 1.0)
    gain = node.attributes.get("gamma", SELU[1]) if node.op == "Selu" else 1.0
    x, name = node.inputs[0], node.output
    if alpha == gain == 1:
        return writer.op("ELU", [x], name)
    low = writer.step("MINIMUM", [x, _number(writer, name, "zero", 0)], f"{name}:low", schema.MaximumMinimumOptionsT())
    if node.op == "Celu":
        low = writer.step("MUL", [low, _number(writer, name, "width", 1 / alpha)], f"{name}:wide", schema.MulOptionsT())
    bent = writer.step("ELU", [low], f"{name}:bent")
    bent = writer.step(
        "MUL", [bent, _number(writer, name, "alpha", gain * alpha)], f"{name}:low_end", schema.MulOptionsT()
    )
    high = writer.step("RELU", [x], f"{name}:high")
    if gain != 1:
        high = writer.step("MUL", [high, _number(writer, name, "gain", gain)], f"{name}:high_end", schema.MulOptionsT())
    return writer.op("ADD", [high, bent], name, schema.AddOptionsT())


def _number(writer: Writer, name: str, what: str, value: float) -> str:
    return writer.constant(f"{name}:{what}", np.asarray(value, np.float32))


@rule("Erf", layout=Layout.FOLLOW, refuses_int8=float_only)
def erf(writer: Writer, node: Node) -> None:
    """sign(x) · (1 - P(t) exp(-x²)), t = 1 / (1 + p |x|), within 1.5·10⁻⁷ (Abramowitz and Stegun, 7.1.26)."""
    x, name = node.inputs[0], node.output

    def step(code: str, left: str, right: float | str, what: str) -> str:
        other = right if isinstance(right, str) else _number(writer, name, f"{what}_by", right)
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}[code]()
        return writer.step(code, [left, other], f"{name}:{what}", options)

    size = writer.step("ABS", [x], f"{name}:size")
    below = step("ADD", step("MUL", size, ERF_WIDTH, "wide"), 1.0, "below")
    one = _number(writer, name, "one", 1)
    t = writer.like(x, f"{name}:t")
    writer.op("DIV", [one, below], t, schema.DivOptionsT())
    polynomial = step("MUL", t, ERF_POWERS[0], "power_5")
    for power, factor in enumerate(ERF_POWERS[1:]):
        polynomial = step("MUL", step("ADD", polynomial, factor, f"sum_{power}"), t, f"product_{power}")
    falling = writer.step(
        "EXP", [writer.step("NEG", [step("MUL", x, x, "square")], f"{name}:minus")], f"{name}:falling"
    )
    rest = step("MUL", polynomial, falling, "rest")
    whole = step("ADD", writer.step("NEG", [rest], f"{name}:less"), 1.0, "whole")
    writer.op("MUL", [writer.step("SIGN", [x], f"{name}:sign"), whole], name, schema.MulOptionsT())


@rule("Softplus", layout=Layout.FOLLOW, refuses_int8=float_only)
def softplus(writer: Writer, node: Node) -> None:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x, name = node.inputs[0], node.output
    one = writer.constant(f"{name}:one", np.asarray(1, np.float32))
    size = writer.step("ABS", [x], f"{name}:size")
    decay = writer.step("EXP", [writer.step("NEG", [size], f"{name}:negative")], f"{name}:decay")
    rest = writer.step("LOG", [writer.step("ADD", [decay, one], f"{name}:sum", schema.AddOptionsT())], f"{name}:rest")
    writer.op("ADD", [writer.step("RELU", [x], f"{name}:positive"), rest], name, schema.AddOptionsT())


@rule("Mish", layout=Layout.FOLLOW, refuses_int8=float_only)
def mish(writer: Writer, node: Node) -> None:
    """x tanh(softplus(x))."""
    inner = writer.like(node.output, f"{node.output}:softplus")
    softplus(writer, Node("Softplus", node.name, node.inputs, inner))
    gate = writer.step("TANH", [inner], f"{node.output}:gate")
    writer.op("MUL", [node.inputs[0], gate], node.output, schema.MulOptionsT())


def _hard_sigmoid_refuses_int8(node: Node, graph: Graph) -> str | None:
    made = graph.tensors[node.output].quantisation
    if graph.tensors[node.output].rank != 4:
        return "TFLite has int8 kernels for it on maps only"
    if made is None or made.zero_point.item() != -128:
        return "TFLite's int8 kernel needs an output zero point of -128"
    return refuses_per_channel(node, graph)


@rule("HardSigmoid", layout=Layout.FOLLOW, refuses_int8=_hard_sigmoid_refuses_int8)
def hard_sigmoid(writer: Writer, node: Node) -> None:
    """max(0, min(1, alpha x + beta)); in int8 a 1x1 depthwise convolution that rounds once and saturates."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    x = writer.tensor(node.inputs[0])
    if x.quantisation is not None:
        return _scaled_by_convolution(writer, node, x.quantisation, alpha, beta)
    _risen(writer, node, alpha, beta, node.output)
    return None


def _risen(writer: Writer, node: Node, alpha: float, beta: float, name: str) -> str:
    """max(0, min(1, alpha x + beta)) in float, called `name`."""
    slope = writer.constant(f"{name}:alpha", np.asarray(alpha, np.float32))
    shift = writer.constant(f"{name}:beta", np.asarray(beta, np.float32))
    line = writer.step("MUL", [node.inputs[0], slope], f"{name}:scaled", schema.MulOptionsT())
    rising = schema.AddOptionsT()
    rising.fusedActivationFunction = schema.ActivationFunctionType.RELU
    line = writer.step("ADD", [line, shift], f"{name}:shifted", rising)
    one = writer.constant(f"{name}:one", np.asarray(1, np.float32))
    writer.op("MINIMUM", [line, one], name, schema.MaximumMinimumOptionsT())  # XNNPACK lacks RELU_0_TO_1
    return name


def _scaled_by_convolution(writer: Writer, node: Node, x: Quantisation, alpha: float, beta: float) -> None:
    channels, name = writer.tensor(node.inputs[0]).shape[3], node.output
    scale = np.full(channels, alpha / LARGEST_WEIGHT, np.float32)
    zeros = np.zeros(channels, np.int64)
    weights = np.full((1, 1, 1, channels), LARGEST_WEIGHT, np.int8)
    weight = writer.constant(f"{name}:weight", weights, Quantisation(scale, zeros, 3))
    steps = (x.scale * scale).astype(np.float32)
    bias = writer.constant(f"{name}:bias", np.rint(beta / steps).astype(np.int32), Quantisation(steps, zeros))
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.depthMultiplier = schema.Padding.VALID, 1
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU_N1_TO_1
    writer.op("DEPTHWISE_CONV_2D", [node.inputs[0], weight, bias], name, options)
