"""Integer operators (ONNX Runtime's QOperator format) written as DQ → float operator → Q.

Their kernels round once where Q after a float operator rounds once: results differ by a step at most.
"""

from collections.abc import Callable
from typing import NamedTuple

from onnx import NodeProto, helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph, attribute, label
from edgekd.onnx_import.normalize_qdq import FLOAT_ORIGINAL

CONTRIB = "com.microsoft"
RUN_TIME = frozenset(
    {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
    | {"DynamicQuantizeLSTM", "MatMulNBits", "QAttention", "QEmbedLayerNormalization"}
)
MOVING = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity"})
BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}


class Stored(NamedTuple):
    """An integer operand: its edge, scale and zero point by name, and the axis of a scale per channel."""

    edge: str
    scale: str
    zero_point: str
    axis: int = 1


def expand_integer_operators(graph: Graph) -> bool:
    """Rewrite them all; whether there were any. Raises BadInputError for those whose scales are found at run time."""
    changed = False
    for node in graph.nodes:
        if node.op_type in RUN_TIME:
            raise BadInputError(
                f"{node.op_type} {label(node)!r} finds its scales at run time, which integer kernels cannot: "
                f"{FLOAT_ORIGINAL}; without one it stays as it is, and ONNX Runtime runs it"
            )
        if node.op_type in OPERATORS:
            OPERATORS[node.op_type](graph, node)
        elif node.op_type in MOVING and (quantizer := _maker(graph, node.input[0])) is not None:
            _move(graph, node, quantizer)
        else:
            continue
        changed = True
    return changed


def _maker(graph: Graph, edge: str) -> NodeProto | None:
    producer = graph.producer(edge)
    return producer if producer is not None and producer.op_type == "QuantizeLinear" else None


def _move(graph: Graph, node: NodeProto, quantizer: NodeProto) -> None:
    """Integers that are only moved: the same numbers move in float between DQ and Q of the same scale."""
    scale, zero_point = quantizer.input[1], quantizer.input[2]
    graph.set_input(node, 0, _dequantized(graph, Stored(node.input[0], scale, zero_point)))
    for index, stored in enumerate(list(node.output)):
        if stored:
            graph.set_output(node, index, graph.fresh(f"{stored}_float"))
            graph.add("QuantizeLinear", [node.output[index], scale, zero_point], stored)


def _dequantized(graph: Graph, stored: Stored) -> str:
    edge = graph.fresh(f"{stored.edge}_dequantized")
    graph.add("DequantizeLinear", list(stored[:3]), edge, axis=stored.axis)
    return edge


def _replace(
    graph: Graph, node: NodeProto, kind: str, operands: list[Stored | str], result: tuple[str, str] | None
) -> NodeProto:
    """`kind` on dequantised operands; `result` is the scale and zero point of what it makes (None: float)."""
    kept = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute if entry.name not in _OWN}
    inputs = [_dequantized(graph, operand) if isinstance(operand, Stored) else operand for operand in operands]
    graph.remove(node)
    made = node.output[0] if result is None else graph.fresh(f"{node.output[0]}_float")
    plain = graph.add(kind, inputs, made, **kept)
    plain.name = node.name or plain.name
    if result is not None:
        graph.add("QuantizeLinear", [made, *result], node.output[0])
    return plain


_OWN = frozenset({"channels_last", "opset"})


def _operand(node: NodeProto, start: int, axis: int = 1) -> Stored:
    edge, scale, zero_point = node.input[start : start + 3]
    return Stored(edge, scale, zero_point, axis)


def _convolution(graph: Graph, node: NodeProto) -> None:
    x, weight = _operand(node, 0), _operand(node, 3, axis=0)
    bias = [_bias(graph, x, weight, node.input[8])] if len(node.input) > 8 and node.input[8] else []
    _replace(graph, node, "Conv", [x, weight, *bias], (node.input[6], node.input[7]))


def _product(graph: Graph, node: NodeProto) -> None:
    _replace(graph, node, "MatMul", [_operand(node, 0), _operand(node, 3)], (node.input[6], node.input[7]))


def _gemm(graph: Graph, node: NodeProto) -> None:
    x, weight = _operand(node, 0), _operand(node, 3, axis=0 if attribute(node, "transB", 0) else 1)
    bias = [_bias(graph, x, weight, node.input[6])] if len(node.input) > 6 and node.input[6] else []
    result = (node.input[7], node.input[8]) if len(node.input) > 8 else None
    _replace(graph, node, "Gemm", [x, weight, *bias], result)


def _bias(graph: Graph, x: Stored, weight: Stored, bias: str) -> Stored:
    """An int32 bias counts in input scale × weight scale."""
    scale = _constant(graph, x.scale) * _constant(graph, weight.scale).reshape(-1)
    name = graph.add_constant(f"{bias}_scale", scale if scale.size > 1 else scale.reshape(()))
    zero = graph.add_constant(f"{bias}_zero_point", (scale * 0).astype("int32").reshape(graph.constants[name].shape))
    return Stored(bias, name, zero, axis=0)


def _constant(graph: Graph, name: str) -> Array:
    if name not in graph.constants:
        raise BadInputError(f"the scale {name!r} is computed at run time: {FLOAT_ORIGINAL}")
    return graph.constants[name]


def _binary(graph: Graph, node: NodeProto) -> None:
    operands = [_operand(node, 0), _operand(node, 3)]
    _replace(graph, node, BINARY[node.op_type], list(operands), (node.input[6], node.input[7]))


def _unary(graph: Graph, node: NodeProto) -> None:
    if attribute(node, "channels_last", 0):
        raise BadInputError(f"{node.op_type} {label(node)!r} has channels last: {FLOAT_ORIGINAL}")
    _replace(graph, node, UNARY[node.op_type], [_operand(node, 0)], (node.input[3], node.input[4]))


def _concat(graph: Graph, node: NodeProto) -> None:
    operands = [_operand(node, start) for start in range(2, len(node.input), 3)]
    _replace(graph, node, "Concat", list(operands), (node.input[0], node.input[1]))


OPERATORS: dict[str, Callable[[Graph, NodeProto], None]] = {
    "QLinearConv": _convolution,
    "QLinearMatMul": _product,
    "QGemm": _gemm,
    "QLinearConcat": _concat,
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(UNARY, _unary),
}
