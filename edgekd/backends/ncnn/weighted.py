"""Layers with weights. In int8 where the graph says so and ncnn has the kernel, else in float, and then it is noted.

An int8 layer makes floats or, where nothing but one quantiser reads those, int8 at once.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto

from edgekd.backends.ncnn.format import Array, Parameter, plain, weights
from edgekd.backends.ncnn.lowering import Lowering, Value, reciprocal
from edgekd.backends.ncnn.quantisers import scale_of
from edgekd.backends.ncnn.rules import rule
from edgekd.backends.ncnn.source import Shape, refuse
from edgekd.backends.ncnn.windows import window
from edgekd.onnx_graph import attribute, label
from edgekd.quantization.fold import layer_name
from edgekd.runner.runtime import layer_of

DEPTHWISE = "ConvolutionDepthWise"
GROUP, INT8, ACTIVATION, SETTINGS = 7, 8, 9, 10  # keys
REQUANTISED = 100  # what is added to INT8's value where the output is int8
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Weights:
    """A layer's weights, outputs first; `stored` with `scales` are there where the graph has them in integers.

    `floats` says why the layer computes in float; None: it does not.
    """

    real: Array
    bias: Array | None
    stored: Array | None = None
    scales: Array | None = None
    floats: str | None = None

    @property
    def outputs(self) -> int:
        """How many channels or features it makes."""
        return int(self.real.shape[0])


@dataclass(frozen=True)
class Tail:
    """What follows a layer and is computed within it; `edge` is what comes of it, on the grid of `scale` if any."""

    edge: str
    parameters: dict[int, Parameter] = field(default_factory=dict)
    scale: float | None = None


@rule("Conv")
def convolve(lowering: Lowering, node: NodeProto) -> None:
    """Convolution, or ConvolutionDepthWise for groups: in int8 if each channel is one, since a group has one scale."""
    own, group = weights_of(lowering, node, 0), int(attribute(node, "group", 1))
    before, after = (lowering.source.shape(node, edge) for edge in (node.input[0], node.output[0]))
    if group > 1 and own.floats is None and not group == own.outputs == before[0]:
        own = replace(own, floats="ncnn has one weight scale for a whole group")
    frame = window(node, own.real.shape[2:], before[1:], after[1:])
    grouped = {GROUP: group} if group > 1 else {}
    kind = DEPTHWISE if group > 1 else "Convolution"
    _convolution(lowering, node, kind, own, {0: own.outputs, **frame.parameters, **grouped})


@rule("ConvTranspose")
def convolve_transposed(lowering: Lowering, node: NodeProto) -> None:
    """Deconvolution, which ncnn has in float."""
    if attribute(node, "output_shape") is not None or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        refuse(node, "its padding follows from an output shape: give it as pads")
    own, group = weights_of(lowering, node, 1), int(attribute(node, "group", 1))
    own = replace(own, real=_ungrouped(own.real, group), floats=own.floats or "ncnn has it in float only")
    before, after = (lowering.source.shape(node, edge) for edge in (node.input[0], node.output[0]))
    frame = window(node, own.real.shape[2:], before[1:], after[1:])
    rows, columns = (0, *attribute(node, "output_padding", [0] * (own.real.ndim - 2)))[-2:]
    grouped = {GROUP: group} if group > 1 else {}
    kind = "DeconvolutionDepthWise" if group > 1 else "Deconvolution"
    more = {18: int(columns), 19: int(rows)}
    _convolution(lowering, node, kind, own, {0: own.outputs, **frame.parameters, **more, **grouped})


def _ungrouped(weight: Array, group: int) -> Array:
    """(outputs of a group, inputs, …) as (outputs, inputs of a group, …)."""
    outputs, inputs, *kernel = weight.shape
    parts = weight.reshape(outputs, group, inputs // group, *kernel)
    return parts.swapaxes(0, 1).reshape(group * outputs, inputs // group, *kernel)


@rule("Gemm")
def multiply_add(lowering: Lowering, node: NodeProto) -> None:
    """InnerProduct, for each row."""
    if attribute(node, "transA", 0) or not attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1:
        refuse(node, "transA, alpha and beta: the ncnn backend has x · W + b alone")
    own = weights_of(lowering, node, 0 if attribute(node, "transB", 0) else 1)
    _inner_product(lowering, node, own, node.output[0])


@rule("MatMul")
def multiply(lowering: Lowering, node: NodeProto) -> None:
    """InnerProduct with constant weights, a bias that is added to it included; else MatMul, in float."""
    weight = lowering.source.constant(node.input[1])
    if weight is None or weight.ndim != 2 or node.input[0] in lowering.source.values:
        _product(lowering, node)
        return
    own, edge = weights_of(lowering, node, 1), node.output[0]
    rank = len(lowering.source.full(edge) or ())
    reader = lowering.source.graph.only_consumer(edge)
    if reader is not None and reader.op_type == "Add":
        bias = lowering.source.constant(reader.input[1 if reader.input[0] == edge else 0])
        if bias is not None and bias.ndim and bias.size == bias.shape[-1] == own.outputs and bias.ndim <= rank:
            own, edge = replace(own, bias=bias.reshape(-1)), reader.output[0]
            lowering.skip(reader)
    _inner_product(lowering, node, own, edge)


def _product(lowering: Lowering, node: NodeProto) -> None:
    """Of two activations, or of one and a constant: outer axes broadcast where there are as many."""
    shapes = [lowering.source.shape(node, edge) for edge in node.input]
    if min(map(len, shapes)) < 2 or len({len(shape) for shape in shapes}) > 1:
        refuse(
            node, f"a product of {shapes[0]} and {shapes[1]}: the ncnn backend has those of as many axes, two or more"
        )
    blobs = [lowering.real(node, position) for position in range(2)]
    lowering.set(node.output[0], lowering.layer("MatMul", blobs, label(node)))


def _inner_product(lowering: Lowering, node: NodeProto, own: Weights, edge: str) -> None:
    """A matrix is multiplied row by row; outer axes are rows, too."""
    before, after = (lowering.source.shape(node, name) for name in (node.input[0], edge))
    features = own.real.shape[1]
    if before[-1] != features:
        refuse(node, f"it takes {features} features, {node.input[0]!r} has {before[-1]}")
    rows: Shape = before if len(before) < 3 else (int(np.prod(before[:-1])), features)
    value = _reshaped(lowering, lowering.value(node, 0), before, rows, node.input[0])
    tail = _tail(lowering, edge, requantised=False)
    made = _layer(lowering, node, "InnerProduct", own, value, tail, {0: own.outputs}, bias_and_count=(1, 2))
    lowering.set(tail.edge, lowering.reshaped(made, (*rows[:-1], own.outputs), after, f"{tail.edge}:shape"))


def _convolution(
    lowering: Lowering, node: NodeProto, kind: str, own: Weights, parameters: dict[int, Parameter]
) -> None:
    """A layer on maps; those of one axis are one row high while it works."""
    before, after = (lowering.source.shape(node, edge) for edge in (node.input[0], node.output[0]))
    flat = len(before) == 2
    map_before, map_after = (((shape[0], 1, shape[1]) if flat else shape) for shape in (before, after))
    value = _reshaped(lowering, lowering.value(node, 0), before, map_before, node.input[0])
    tail = _tail(lowering, node.output[0], requantised=own.floats is None and not flat)
    made = _layer(lowering, node, kind, own, value, tail, parameters, bias_and_count=(5, 6))
    if tail.scale is not None:
        lowering.values[tail.edge] = Value(stored=made, scale=tail.scale)
    else:
        lowering.set(tail.edge, lowering.reshaped(made, map_after, after, f"{tail.edge}:shape"))


def _layer(
    lowering: Lowering,
    node: NodeProto,
    kind: str,
    own: Weights,
    value: Value,
    tail: Tail,
    parameters: dict[int, Parameter],
    bias_and_count: tuple[int, int],
) -> str:
    """The layer itself, with its numbers in the order in which ncnn reads them."""
    has_bias, count = bias_and_count
    parameters = {**parameters, has_bias: int(own.bias is not None), count: int(own.real.size), **tail.parameters}
    bias = b"" if own.bias is None else plain(own.bias)
    if own.floats is None:
        assert own.stored is not None
        scales = [reciprocal(scale) for scale in (own.scales, value.scale, tail.scale) if scale is not None]
        content = weights(own.stored) + bias + b"".join(map(plain, scales))
        parameters[INT8] = (1 if kind == DEPTHWISE else 2) + (REQUANTISED if tail.scale is not None else 0)
        source = lowering.stored_of(value, node.input[0])
    else:
        if own.stored is not None:
            lowering.notes.append(f"layer {_name(node)!r} ({node.op_type}) computes in float: {own.floats}")
        content, source = lowering.weights(own.real) + bias, lowering.real_of(value, node.input[0])
    return lowering.layer(kind, [source], _name(node), dict(sorted(parameters.items())), content)


def weights_of(lowering: Lowering, node: NodeProto, axis: int) -> Weights:
    """What a layer holds, `axis` of its weight (its outputs) put first; refuses a weight that is computed."""
    source, edge = lowering.source, node.input[1]
    real, bias, stored = source.operand(node, 1), source.operand(node, 2), source.integers(edge)
    assert real is not None
    whole, maker = np.moveaxis(real, axis, 0), source.graph.producer(edge)
    if stored is None or maker is None:
        return Weights(whole, bias, floats="its weight is not quantised")
    scales, zero_point = source.operand(maker, 1), source.operand(maker, 2)
    assert scales is not None
    floats = None if lowering.value(node, 0).scale is not None else "its input is not quantised"
    if stored.dtype != np.int8 or stored.min() < -127 or (zero_point is not None and zero_point.any()):
        floats = "ncnn's weights are int8 within ±127, without a zero point"
    elif scales.size > 1 and attribute(maker, "axis", 1) % stored.ndim != axis:
        floats = "ncnn has a weight scale for each output"
    else:
        scales = np.broadcast_to(scales.reshape(-1), (len(whole),))
    return Weights(whole, bias, np.moveaxis(stored, axis, 0), scales, floats)


def _tail(lowering: Lowering, edge: str, requantised: bool) -> Tail:
    """An activation that alone reads an edge, then, where the layer can make int8, a quantiser that alone does."""
    graph, parameters = lowering.source.graph, dict[int, Parameter]()
    reader = graph.only_consumer(edge)
    if reader is not None and (found := _activation(lowering, reader)) is not None:
        kind, settings = found
        parameters = {ACTIVATION: kind, **({SETTINGS: settings} if settings else {})}
        lowering.skip(reader)
        edge = reader.output[0]
        reader = graph.only_consumer(edge)
    if requantised and reader is not None and reader.op_type == "QuantizeLinear":
        lowering.skip(reader)
        return Tail(reader.output[0], parameters, scale_of(lowering, reader))
    return Tail(edge, parameters)


def _activation(lowering: Lowering, node: NodeProto) -> tuple[int, list[float]] | None:
    """ncnn's number of an activation that a layer computes itself, and its settings; None for any other node."""
    if node.op_type == "Relu":
        return 1, []
    if node.op_type == "LeakyRelu":
        return 2, [float(attribute(node, "alpha", 0.01))]
    if node.op_type == "Clip":
        low, high = (lowering.source.number_at(node, place) for place in (1, 2))
        return 3, [-LARGEST if low is None else low, LARGEST if high is None else high]
    return None


def _reshaped(lowering: Lowering, value: Value, before: Shape, after: Shape, edge: str) -> Value:
    """A tensor in another shape, on the same grid."""
    if before == after:
        return value
    real = lowering.reshaped(lowering.real_of(value, edge), before, after, f"{edge}:rows")
    return Value(real=real, scale=value.scale)


def _name(node: NodeProto) -> str:
    """As a profile knows the layer: by its weight's name."""
    return layer_of(node.input[1]) or layer_name(node) or label(node)
