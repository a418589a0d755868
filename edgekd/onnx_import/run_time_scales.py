"""Layers that find their scales at run time, and weights alone in integers, written as the float layers they stand for.

Integer products are sums of (q - zero point) · (w - zero point): times both scales, they are the product of what was
quantised with the weights as they are stored.
"""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgekd.distance import sqnr
from edgekd.onnx_graph import Array, Graph, attribute
from edgekd.onnx_import.inputs import Arrays
from edgekd.onnx_import.qoperator import MOVING, OPERATORS, RUN_TIME
from edgekd.onnx_node import evaluate
from edgekd.quantization.reference import Reference, few

SAMPLES = 8
MOVES = frozenset({"Gather", *MOVING}) - {"MaxPool"}
PRODUCTS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
NONE = np.zeros((), np.int8)  # the zero point that is not there


def in_float_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float model of the weights that it holds; the argument itself where it stores scales of activations.

    What has no float form here stays.
    """
    kinds = {node.op_type for node in model.graph.node}
    if kinds & ({"QuantizeLinear"} | OPERATORS.keys()) or not kinds & ({"DequantizeLinear"} | RUN_TIME):
        return model
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type in LAYERS:
            LAYERS[node.op_type](graph, node)
    _dequantize(graph)
    return graph.model()


def described(model: onnx.ModelProto, in_float: onnx.ModelProto, inputs: Arrays | None) -> tuple[str, ...]:
    """What a user has to know of a model that was written so: that, and how far it is from the file on some inputs."""
    if in_float is model:
        return ()
    told = "the file holds integer weights alone, or finds scales at run time: calibrated are the float layers of these"
    apart = [] if inputs is None else _apart(model, in_float, inputs)
    return (f"{told}{f', {min(apart):.1f} dB from what it computes' if apart else ''}",)


def _apart(model: onnx.ModelProto, in_float: onnx.ModelProto, inputs: Arrays) -> list[float]:
    some = few(inputs, SAMPLES)
    wanted, found = (Reference(each).run(some, batch=1) for each in (model, in_float))
    floats = [name for name, value in wanted.items() if value.dtype.kind == "f"]
    return [apart for name in floats if (apart := sqnr(found[name], wanted[name])) is not None]


def _product(graph: Graph, node: NodeProto) -> None:
    """`Cast` to float and products with both scales follow; the last of these makes what the float layer makes."""
    source, cast = graph.producer(node.input[0]), graph.only_consumer(node.output[0])
    factors = _stored(graph, node, 1, 3)
    if factors is None or cast is None or cast.op_type != "Cast":
        return
    now = source if source is not None and source.op_type == "DynamicQuantizeLinear" else None
    last, scale, others = _scaled(graph, cast.output[0], now.output[1] if now else "")
    weight = None if others is None else _of_channels(*factors, others, first=node.op_type == "ConvInteger")
    if last is None or weight is None:
        return
    operand = now.input[0] if now else graph.fresh(f"{node.input[0]}_float")
    if now is None:
        graph.add("DequantizeLinear", [node.input[0], scale, *node.input[2:3]], operand)
    kept = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    operands = [operand, graph.add_constant(f"{node.input[1]}_float", weight)]
    graph.remove(node)
    _replace(graph, last, PRODUCTS[node.op_type], operands, **kept).name = node.name


def _scaled(graph: Graph, edge: str, scale: str) -> tuple[NodeProto | None, str, Array | None]:
    """The product behind `edge` that has the operand's scale as a factor, that scale, and the other factors.

    A scale that is stored has an empty name: it is one number, as that of a weight's channels is not; of two such,
    either will do.
    """
    factors: list[str] = []
    while (node := graph.only_consumer(edge)) is not None and node.op_type == "Mul":
        factor = node.input[1] if node.input[0] == edge else node.input[0]
        maker, edge = graph.producer(factor), node.output[0]
        factors += maker.input if maker is not None and maker.op_type == "Mul" else [factor]
        found = scale or next((each for each in factors if _is_one(graph.constants.get(each))), "")
        if found in factors:
            factors.remove(found)
            known = [value for each in factors if (value := graph.constants.get(each)) is not None]
            return node, found, prod(known, start=np.ones((), np.float32)) if len(known) == len(factors) else None
    return None, "", None


def _is_one(scale: Array | None) -> bool:
    """Whether it is one number, or is made when the network runs."""
    return scale is None or scale.size == 1


def _of_channels(stored: Array, zero_point: Array, scale: Array, *, first: bool) -> Array | None:
    """A weight as float; None where its scale or zero point is not one, nor one for each of the channels it makes."""
    axis = 0 if first else stored.ndim - 1
    if not {scale.size, zero_point.size} <= {1, stored.shape[axis]}:
        return None
    row = [-1 if i == axis else 1 for i in range(stored.ndim)]
    return _real(stored, zero_point.reshape(row), scale.reshape(row))


def _matrix(graph: Graph, node: NodeProto) -> None:
    """A product of a float operand, or of one that was quantised for it, with a bias of its own."""
    quantized = node.op_type == "MatMulIntegerToFloat"
    scale, zero_point, bias = (3, 5, 6) if quantized else (2, 3, 4)
    source = graph.producer(node.input[0]) if quantized else None
    factors, scales = _stored(graph, node, 1, zero_point), graph.constant(node, scale)
    if factors is None or scales is None:
        return
    if quantized and (source is None or source.op_type != "DynamicQuantizeLinear"):
        return
    operand = node.input[0] if source is None else source.input[0]
    _multiply(graph, node, operand, _real(*factors, scales), _operand(node, bias))


def _blocks(graph: Graph, node: NodeProto) -> None:
    """Weights of four or eight bits in blocks of columns, two of four bits in a byte, low ones first."""
    factors, scale, bits = _stored(graph, node, 1, 3), graph.constant(node, 2), attribute(node, "bits", 4)
    columns, rows, block = (attribute(node, name) for name in ("K", "N", "block_size"))
    if factors is None or scale is None or bits not in {4, 8} or _operand(node, 4):
        return
    (stored, zero), count = factors, -(-columns // block)
    if not _operand(node, 3):
        zero = np.full((rows, count), 2 ** (bits - 1))
    elif zero.dtype == np.uint8:
        zero = _unpacked(zero.reshape(rows, -1), bits)[:, :count]
    whole = _unpacked(stored.reshape(rows, -1), bits).reshape(rows, count, block)
    real = _real(whole, *(each.reshape(rows, count, 1) for each in (zero, scale))).reshape(rows, -1)[:, :columns]
    _multiply(graph, node, node.input[0], np.ascontiguousarray(real.T), _operand(node, 5))


def _unpacked(stored: Array, bits: int) -> Array:
    """Rows of bytes → rows of the numbers in them."""
    return stored if bits == 8 else np.stack([stored & 15, stored >> 4], -1).reshape(len(stored), -1)


def _recurrent(graph: Graph, node: NodeProto) -> None:
    """Both matrices lie the other way round, a scale for each direction or for each of its columns."""
    weights = []
    for place, scale in ((1, 8), (2, 10)):
        factors, scales = _stored(graph, node, place, scale + 1), graph.constant(node, scale)
        if factors is None or scales is None:
            return
        stored, *ones = *factors, scales
        real = _real(stored, *(each.reshape(len(stored) if each.size > 1 else 1, 1, -1) for each in ones))
        weights.append(graph.add_constant(f"{node.input[place]}_float", np.ascontiguousarray(real.swapaxes(1, 2))))
    graph.set_inputs(node, [node.input[0], *weights, *node.input[3:8]])
    node.op_type, node.domain = "LSTM", ""


def _multiply(graph: Graph, node: NodeProto, operand: str, weight: Array, bias: str) -> None:
    made = graph.fresh(f"{node.output[0]}_product") if bias else node.output[0]
    _replace(graph, node, "MatMul", [operand, graph.add_constant(f"{node.input[1]}_float", weight)], made)
    if bias:
        graph.add("Add", [made, bias], node.output[0])


def _replace(
    graph: Graph, node: NodeProto, kind: str, operands: Sequence[str], made: str = "", **attributes: object
) -> NodeProto:
    graph.remove(node)
    plain = graph.add(kind, operands, made or node.output[0], **attributes)
    plain.name = node.name or plain.name
    return plain


def _dequantize(graph: Graph) -> None:
    """Constants that are dequantised, or moved before, and what was quantised just before it comes back."""
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear":
            source, operands = graph.producer(node.input[0]), [name for name in node.input if name]
            if all(name in graph.constants for name in operands):
                graph.constants |= evaluate(node, {name: graph.constants[name] for name in operands}, graph.opset)
                graph.remove(node)
            elif source is not None and list(node.input) == list(source.output):
                graph.set_inputs(node, source.input)
                node.op_type = "Identity"
    for name, value in list(graph.constants.items()):
        if value.dtype in (np.int8, np.uint8) and (ends := _ends(graph, name)):
            _move_in_float(graph, name, ends)


def _ends(graph: Graph, edge: str) -> list[NodeProto] | None:
    """Those that dequantise an edge, or what is moved from it; None where others read it, too."""
    found = []
    for node in graph.consumers(edge):
        if node.input[0] != edge or edge in graph.outputs:
            return None
        below = [_ends(graph, made) for made in node.output] if node.op_type in MOVES else [None]
        if node.op_type == "DequantizeLinear":
            found.append(node)
        elif None in below:
            return None
        else:
            found += [end for each in below for end in each or ()]
    return found


def _move_in_float(graph: Graph, name: str, ends: Sequence[NodeProto]) -> None:
    """Let a constant be dequantised before it is moved, where all its readers have one scale and zero point."""
    stored, scale = _stored(graph, ends[0], 0, 2, name), graph.constant(ends[0], 1)
    one = all(list(node.input[1:]) == list(ends[0].input[1:]) for node in ends)
    if one and stored is not None and scale is not None and scale.size == stored[1].size == 1:
        real = _real(stored[0], stored[1].reshape(()), scale.reshape(()))
        graph.reroute(name, graph.add_constant(f"{name}_float", real))
        for node in ends:
            graph.bypass(node)


def _stored(graph: Graph, node: NodeProto, place: int, zero_point: int, name: str = "") -> tuple[Array, Array] | None:
    """What a node holds in integers, by its place or name, and its zero point; None where one of them is computed."""
    stored, zero = graph.constants.get(name or _operand(node, place)), graph.constant(node, zero_point)
    if stored is None or (zero is None and _operand(node, zero_point)):
        return None
    return stored, NONE if zero is None else zero


def _operand(node: NodeProto, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _real(stored: Array, zero_point: Array, scale: Array) -> Array:
    single: list[Array] = [each.astype(np.float32) for each in (stored, zero_point, scale)]
    return (single[0] - single[1]) * single[2]


LAYERS: dict[str, Callable[[Graph, NodeProto], None]] = {
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), _matrix),
    "DynamicQuantizeLSTM": _recurrent,
    "MatMulNBits": _blocks,
}
