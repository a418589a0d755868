"""Rules about QuantizeLinear and DequantizeLinear themselves: their types, scales and zero points."""

from collections.abc import Iterator

import numpy as np
import onnx

from edgekd.backends.tensorrt.finding import Finding, found
from edgekd.onnx_graph import QUANTIZERS, Graph


def is_weight(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a quantiser works on a constant, stored as integers or as float with a QuantizeLinear of its own."""
    source = graph.producer(node.input[0])
    return node.input[0] in graph.constants or (
        node.op_type == "DequantizeLinear"
        and source is not None
        and source.op_type == "QuantizeLinear"
        and source.input[0] in graph.constants
    )


def qoperator(graph: Graph) -> Iterator[Finding]:
    """Integer operators hide the scales that TensorRT fuses by."""
    for node in graph.nodes:
        integer = node.op_type.startswith(("QLinear", "QGemm", "QAttention")) or node.op_type.endswith("Integer")
        if integer or node.op_type == "DynamicQuantizeLinear":
            yield found("qoperator", node, f"{node.op_type} is not QDQ form: TensorRT takes QuantizeLinear pairs")


def zero_point_missing(graph: Graph) -> Iterator[Finding]:
    """Accepted but wrong: ONNX and TensorRT read an absent zero point as different types."""
    for node in _quantizers(graph, "QuantizeLinear"):
        if not _zero_point(node):
            yield found("zero-point-missing", node, "no zero point: ONNX means uint8 here, TensorRT computes int8")


def zero_point_nonzero(graph: Graph) -> Iterator[Finding]:
    """TensorRT's int8 is symmetric."""
    for node in _quantizers(graph, *QUANTIZERS):
        name = _zero_point(node)
        value = graph.constants.get(name)
        if value is None and name:
            yield found("zero-point-nonzero", node, "the zero point is computed: it has to be a constant 0")
        elif value is not None and np.any(value.astype(np.float32) != 0):
            yield found("zero-point-nonzero", node, "zero point is not 0: use the scheme int8-symmetric")


def activation_dtype(graph: Graph) -> Iterator[Finding]:
    """Accepted but wrong: uint8 activations with zero point 0 are computed as int8."""
    for node in _quantizers(graph, "QuantizeLinear"):
        name = _zero_point(node)
        dtype = graph.constants[name].dtype.name if name in graph.constants else "int8"
        if dtype != "int8":
            yield found("activation-dtype", node, f"quantises to {dtype}: TensorRT computes int8")


def weight_dtype(graph: Graph) -> Iterator[Finding]:
    """Stored weights are int8; an int32 constant is a bias and has a rule of its own."""
    for node in _stored(graph):
        dtype = graph.constants[node.input[0]].dtype.name
        if dtype not in ("int8", "int32"):
            yield found("weight-dtype", node, f"stored as {dtype}: TensorRT takes int8 weights")


def int32_bias(graph: Graph) -> Iterator[Finding]:
    """TensorRT wants its bias in float."""
    for node in _stored(graph):
        if graph.constants[node.input[0]].dtype == np.int32:
            yield found("int32-bias", node, "quantised bias: TensorRT takes a float bias")


def scale_positive(graph: Graph) -> Iterator[Finding]:
    """Scales are constants above zero."""
    for node in _quantizers(graph, *QUANTIZERS):
        scale = graph.constant(node, 1)
        if scale is None:
            yield found("scale-positive", node, "the scale is computed: it has to be a constant")
        elif not np.all(np.isfinite(scale) & (scale > 0)):
            yield found("scale-positive", node, f"scale {scale.min():g} is not a positive number")


def activation_per_channel(graph: Graph) -> Iterator[Finding]:
    """Accepted but slow: activations with one scale per channel silently stay in float."""
    for node in _quantizers(graph, *QUANTIZERS):
        scale = graph.constant(node, 1)
        if scale is not None and scale.size > 1 and not is_weight(graph, node):
            yield found("activation-per-channel", node, "one scale per channel: activations need one per tensor")


def int8_constant(graph: Graph) -> Iterator[Finding]:
    """Integer weights mean nothing without their DequantizeLinear."""
    small = ("int8", "uint8", "int4", "uint4")
    for node in graph.nodes:
        if node.op_type not in QUANTIZERS:
            for name in node.input:
                if name in graph.constants and graph.constants[name].dtype.name in small:
                    yield found("int8-constant", node, f"reads {name} as bare integers: it needs a DequantizeLinear")


def weight_stored_float(graph: Graph) -> Iterator[Finding]:
    """Right, but four times the size of an int8 initialiser."""
    for node in _quantizers(graph, "QuantizeLinear"):
        if node.input[0] in graph.constants:
            message = f"weights {node.input[0]} are stored in float with a QuantizeLinear: four times the size"
            yield found("weight-stored-float", node, message, fatal=False)


def quantizer_before_activation(graph: Graph) -> Iterator[Finding]:
    """A quantiser between a layer and its ReLU keeps the two from fusing."""
    for node in _quantizers(graph, "DequantizeLinear"):
        readers = graph.consumers(node.output[0])
        if not is_weight(graph, node) and readers and all(reader.op_type in ("Relu", "Clip") for reader in readers):
            message = f"stands before {readers[0].op_type}: quantise after it, so that the layer fuses with it"
            yield found("quantizer-before-activation", node, message, fatal=False)


def _quantizers(graph: Graph, *kinds: str) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.nodes if node.op_type in kinds)


def _stored(graph: Graph) -> Iterator[onnx.NodeProto]:
    return (node for node in _quantizers(graph, "DequantizeLinear") if node.input[0] in graph.constants)


def _zero_point(node: onnx.NodeProto) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""


RULES = (
    qoperator,
    zero_point_missing,
    zero_point_nonzero,
    activation_dtype,
    weight_dtype,
    int32_bias,
    scale_positive,
    activation_per_channel,
    int8_constant,
    weight_stored_float,
    quantizer_before_activation,
)
