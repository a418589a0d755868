"""Quantisers written into an ONNX graph and read back: shared by calibration and training."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Array, Graph
from edgekd.quantization.clean import unshare
from edgekd.quantization.fold import layer_name
from edgekd.quantization.graph_ir import WEIGHTED
from edgekd.quantization.ranges import (
    BIAS_LIMIT,
    Affine,
    affine,
    quantize_bias,
    quantize_weight,
    spare_bias,
    weight_scale,
)
from edgekd.quantization.scheme import SCHEMES, Scheme

METADATA = "edgekd.scheme"
OPSETS = {"uint16": 21}  # the first whose quantisers have a type; the others are older than any that is written
WITH_CONSTANTS = frozenset({"Add", "Div", "MatMul", "Max", "Min", "Mul", "PRelu", "Sub"})


def insert_activations(model: onnx.ModelProto, parameters: Mapping[str, Affine], scheme: Scheme) -> onnx.ModelProto:
    """Put Q and DQ on each edge; readers get the dequantised values, graph outputs keep their names."""
    graph = Graph(model)
    for edge, parameter in parameters.items():
        _insert(graph, edge, parameter, scheme)
    graph.raise_opset(OPSETS.get(scheme.activation, 0))
    return graph.model()


def _insert(graph: Graph, edge: str, affine: Affine, scheme: Scheme) -> None:
    producer = graph.producer(edge)
    raw, result = edge, edge
    if edge in graph.outputs and producer is not None:
        raw = graph.fresh(f"{edge}_float")
        graph.set_output(producer, list(producer.output).index(edge), raw)
    else:
        result = graph.fresh(f"{edge}_dequantized")
        graph.reroute(edge, result)
    stored = graph.fresh(f"{edge}_quantized")
    graph.add("QuantizeLinear", [raw, *_operands(graph, stored, affine, scheme)], stored)
    graph.add("DequantizeLinear", [stored, *_operands(graph, result, affine, scheme)], result)


def _operands(graph: Graph, name: str, affine: Affine, scheme: Scheme) -> list[str]:
    return [
        graph.add_constant(f"{name}_scale", np.array(affine.scale, np.float32)),
        graph.add_constant(f"{name}_zero_point", np.array(affine.zero_point, scheme.activation)),
    ]


def strip_activations(model: onnx.ModelProto, *, saturating: bool = False) -> tuple[onnx.ModelProto, dict[str, Affine]]:
    """The inverse of `insert_activations`: activations in float, and the parameters of each edge that had a quantiser.

    `saturating` keeps the limits of each quantiser as a Clip: tools that leave out a Relu or Clip before a quantiser
    mean them. In foreign models a quantiser stays on weights, if it is per channel, and if something else than a DQ
    reads it.
    """
    graph = Graph(model)
    parameters = {}
    for quantize in [node for node in graph.nodes if node.op_type == "QuantizeLinear"]:
        readers = graph.consumers(quantize.output[0])
        if _is_activation(graph, quantize) and {node.op_type for node in readers} == {"DequantizeLinear"}:
            edge = next((node.output[0] for node in readers if node.output[0] in graph.outputs), quantize.input[0])
            parameters[edge] = affine_of(graph, quantize)
            source = _clipped(graph, quantize, parameters[edge]) if saturating else quantize.input[0]
            _strip(graph, quantize, source, readers)
    return graph.model(), parameters


def _is_activation(graph: Graph, quantize: NodeProto) -> bool:
    scale = graph.constant(quantize, 1)
    stored = quantize.input[0] in graph.constants or quantize.output[0] in graph.outputs
    return not stored and (scale is None or scale.size == 1)


def affine_of(graph: Graph, quantize: NodeProto) -> Affine:
    """Scale and zero point of a Q or a DQ, one for all; BadInputError where they are not constants."""
    scale, zero_point = graph.constant(quantize, 1), graph.constant(quantize, 2)
    if scale is None or zero_point is None:
        raise BadInputError(f"{quantize.name!r}: a quantiser needs a constant scale and zero point")
    return Affine(float(scale.reshape(())), int(zero_point.reshape(())))


def _clipped(graph: Graph, quantize: NodeProto, parameters: Affine) -> str:
    """The edge that holds what a quantiser reads, within what it can hold."""
    limits = np.iinfo(graph.constants[quantize.input[2]].dtype)
    result = graph.fresh(f"{quantize.input[0]}_clipped")
    bounds = [(stored - parameters.zero_point) * parameters.scale for stored in (limits.min, limits.max)]
    names = [graph.add_constant(f"{result}_limit", np.array(bound, np.float32)) for bound in bounds]
    graph.add("Clip", [quantize.input[0], *names], result)
    return result


def _strip(graph: Graph, quantize: NodeProto, source: str, readers: list[NodeProto]) -> None:
    for dequantize in readers:
        graph.set_input(dequantize, 0, source)
    graph.remove(quantize)
    for dequantize in readers:
        graph.bypass(dequantize)


def quantize_weights(model: onnx.ModelProto, scheme: Scheme, layers: Collection[str]) -> onnx.ModelProto:
    """Store the weights and biases of those named layers that have a quantised input as integers.

    So are the constants of what the scheme computes in integers besides layers. The result is checked by onnx.checker
    and carries the scheme in its metadata.
    """
    graph = Graph(model)
    unshare(graph)
    for node in graph.nodes:
        if node.op_type in WEIGHTED and layer_name(node) in layers:
            _quantize_layer(graph, node, scheme)
        elif node.op_type in scheme.integers:
            _quantize_operands(graph, node, scheme)
    graph.metadata[METADATA] = scheme.name
    quantized = graph.model()
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _quantize_layer(graph: Graph, node: NodeProto, scheme: Scheme) -> None:
    weight, bias, input_scale = graph.constant(node, 1), graph.constant(node, 2), scale_of(graph, node.input[0])
    if weight is None or input_scale is None:
        return
    axis = channel_axis(node, weight)
    scale = weight_scale(weight, axis, scheme)
    if bias is not None and scheme.bias == "int32":
        scale = spare_bias(scale, bias, input_scale)
        bias_scale = np.float32(input_scale) * scale
        _dequantize(graph, node, 2, quantize_bias(bias, bias_scale), bias_scale, 0)
    _dequantize(graph, node, 1, quantize_weight(weight, scale, axis, scheme), scale, axis)


def _quantize_operands(graph: Graph, node: NodeProto, scheme: Scheme) -> None:
    """The constants that an operation on quantised activations reads: a norm's gain and bias, an operand of a sum."""
    if node.op_type == "LayerNormalization":
        _quantize_norm(graph, node, scheme)
    elif node.op_type in WITH_CONSTANTS and any(scale_of(graph, edge) for edge in node.input):
        for index, edge in enumerate(node.input):
            if edge in graph.constants:
                _quantize_constant(graph, node, index, scheme)


def _quantize_norm(graph: Graph, node: NodeProto, scheme: Scheme) -> None:
    """A gain in eight bits, and a bias in int32 whose scale is that of the input times the gain's."""
    bias, input_scale = graph.constant(node, 2), scale_of(graph, node.input[0])
    if input_scale is None or graph.constant(node, 1) is None:
        return
    largest = 0.0 if bias is None else float(np.abs(bias).max(initial=0.0))
    scale = _quantize_constant(graph, node, 1, replace(scheme, activation="uint8"), largest / input_scale / BIAS_LIMIT)
    if bias is not None:
        bias_scale = np.asarray(np.float32(input_scale) * np.float32(scale))
        _dequantize(graph, node, 2, quantize_bias(bias, bias_scale), bias_scale)


def _quantize_constant(graph: Graph, node: NodeProto, index: int, scheme: Scheme, least: float = 0.0) -> float:
    """Store an operand as activations are stored, with a scale of `least` or more, which is returned."""
    value, (smallest, largest) = graph.constants[node.input[index]].astype(np.float64), scheme.activation_range
    scale, zero_point = affine(float(value.min()), float(value.max(initial=least * (largest - smallest))), scheme)
    stored = np.clip(np.rint(value / scale) + zero_point, smallest, largest).astype(scheme.activation)
    _dequantize(graph, node, index, stored, np.array(scale, np.float32), zero_point=zero_point)
    return scale


def rounded_weight(node: NodeProto, weight: Array, scheme: Scheme) -> Array:
    """Return a layer's weight as its integers stand for it, float64."""
    axis = channel_axis(node, weight)
    scale = weight_scale(weight, axis, scheme)
    along = [-1 if other == axis else 1 for other in range(weight.ndim)]
    rounded: Array = quantize_weight(weight, scale, axis, scheme) * scale.astype(np.float64).reshape(along)
    return rounded


def channel_axis(node: NodeProto, weight: Array) -> int:
    """Where a layer's weight has its output channels; linear layers have gone through `clean`."""
    return {"MatMul": weight.ndim - 1, "ConvTranspose": 1}.get(node.op_type, 0)


def _dequantize(
    graph: Graph, node: NodeProto, index: int, stored: Array, scale: Array, axis: int = 0, zero_point: int = 0
) -> None:
    """Replace a constant operand by a DQ of integers."""
    name = node.input[index]
    result = graph.fresh(f"{name}_dequantized")
    operands = [
        graph.add_constant(f"{name}_quantized", stored),
        graph.add_constant(f"{name}_scale", scale),
        graph.add_constant(f"{name}_zero_point", np.full(scale.shape, zero_point, stored.dtype)),
    ]
    graph.add("DequantizeLinear", operands, result, axis=axis)
    graph.set_input(node, index, result)


def scale_of(graph: Graph, edge: str) -> float | None:
    """Scale of the quantiser that makes an edge; None where none does, or one per channel."""
    producer = graph.producer(edge)
    if producer is None or producer.op_type not in QUANTIZERS:
        return None
    scale = graph.constant(producer, 1)
    return float(scale.reshape(())) if scale is not None and scale.size == 1 else None


def step_of(graph: Graph, edge: str) -> float | None:
    """What distances at an edge are counted in: the scale of its quantiser, or that of one in eight bits as wide."""
    scale = scale_of(graph, edge)
    if scale is None:
        return None
    maker = graph.producer(edge)
    zero_point = graph.constant(maker, 2) if maker is not None else None
    wide = zero_point is not None and zero_point.dtype == np.uint16
    return scale * (2**16 - 1) / (2**8 - 1) if wide else scale


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a model holds quantisers."""
    return any(node.op_type in QUANTIZERS for node in model.graph.node)


def declared_scheme(model: onnx.ModelProto) -> str | None:
    """The name of the scheme that a model was quantised in, as its metadata says; None where it knows none."""
    declared = {entry.key: entry.value for entry in model.metadata_props}.get(METADATA)
    return declared if declared in SCHEMES else None


def scheme_of(model: onnx.ModelProto) -> Scheme | None:
    """The scheme that a model was quantised for, as its metadata says, else as its activations show; or None."""
    declared = declared_scheme(model)
    if declared is not None:
        return SCHEMES[declared]
    graph = Graph(model)
    quantizers = [node for node in graph.nodes if node.op_type == "QuantizeLinear"]
    points = [graph.constant(node, 2) for node in quantizers]
    if not points or any(point is None for point in points):
        return None
    kinds = {(str(point.dtype), bool(point.any())) for point in points if point is not None}
    return next((scheme for scheme in SCHEMES.values() if _shows(scheme, kinds)), None)


def _shows(scheme: Scheme, kinds: set[tuple[str, bool]]) -> bool:
    """Whether (dtype, has a zero point) pairs are what a scheme would write."""
    dtypes, shifted = {dtype for dtype, _ in kinds}, any(shift for _, shift in kinds)
    return dtypes == {scheme.activation} and not (scheme.symmetric and shifted)
