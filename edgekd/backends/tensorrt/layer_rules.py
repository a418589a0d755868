"""Rules about the layers that become int8 kernels, and what must reach their inputs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from edgekd.backends.tensorrt.finding import Finding, found
from edgekd.backends.tensorrt.quantizer_rules import is_weight
from edgekd.onnx_graph import Graph, attribute

LAYERS = ("Conv", "Gemm", "MatMul")
PASS_THROUGH = ("Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def weight_axis(graph: Graph) -> Iterator[Finding]:
    """Accepted but slow: per-channel weights on an axis other than the output channels silently stay in float."""
    for layer in _layers(graph):
        wanted = _output_axis(graph, layer)
        for quantizer in _weight_quantizers(graph, layer):
            scale = graph.constant(quantizer, 1)
            if scale is None or scale.size == 1:
                continue
            rank = _rank(graph, quantizer)
            axis = attribute(quantizer, "axis", 1) % rank
            if scale.ndim > 1:
                yield found("weight-axis", quantizer, "block-wise scales: TensorRT's int8 has one per output channel")
            elif axis != wanted % rank:
                message = f"scales run along axis {axis} of a {layer.op_type} weight, outputs along {wanted % rank}"
                yield found("weight-axis", quantizer, message)


def input_unquantized(graph: Graph) -> Iterator[Finding]:
    """A layer is int8 with a DequantizeLinear at both inputs, else float: on purpose where its weight is stored so.

    So is a product of two activations, where int8 would gain nothing.
    """
    for layer in _layers(graph):
        bare = [name for name in layer.input[:2] if not _is_quantized(graph, name)]
        if len(bare) == 1 and bare[0] not in graph.constants and not _is_product(graph, layer):
            message = f"{layer.op_type} input {bare[0]} has no DequantizeLinear: the layer would run in float"
            yield found("input-unquantized", layer, message)
        elif bare:
            yield found("float-layer", layer, f"{layer.op_type} is not quantised: it runs in float", fatal=False)


def conv_transpose(graph: Graph) -> Iterator[Finding]:
    """TensorRT has no int8 kernel for it."""
    for node in graph.nodes:
        if node.op_type == "ConvTranspose":
            yield found("conv-transpose", node, "ConvTranspose runs in float on TensorRT", fatal=False)


def residual_add(graph: Graph) -> Iterator[Finding]:
    """A layer fuses the Add behind it when the other summand, the skip, is quantised: one of the two, not both.

    A sum that nothing quantises, as between two layer norms, is float on purpose.
    """
    for add in graph.nodes:
        if add.op_type != "Add" or any(_is_constant(graph, name) for name in add.input) or _stays_float(graph, add):
            continue
        bare = [name for name in add.input if not _is_quantized(graph, name)]
        fused = [name for name in bare if _ends_layer(graph, name, int8=True)]
        if not bare:
            message = "both summands are quantised: the layer before the Add can no longer fuse it"
            yield found("add-both-quantized", add, message, fatal=False)
        elif fused or len(bare) == 1:
            for skip in bare:
                if skip not in fused[:1] and not _ends_layer(graph, skip, int8=False):
                    yield found("skip-unquantized", add, f"the skip {skip} has no quantiser: one Q/DQ is missing")


def bias_precision(graph: Graph) -> Iterator[Finding]:
    """A strongly typed network takes its bias in the type that the layer computes in."""
    for layer in _layers(graph):
        if len(layer.input) > 2 and layer.input[2] in graph.constants:
            weight, bias = _float_type(graph, layer.input[1]), graph.constants[layer.input[2]].dtype
            if weight is not None and weight != bias and np.float16 in (weight, bias):
                message = f"{weight} weights with a {bias} bias: TensorRT wants one type"
                yield found("bias-precision", layer, message)


def _is_product(graph: Graph, layer: onnx.NodeProto) -> bool:
    """Whether both operands of a MatMul are computed."""
    return layer.op_type == "MatMul" and not any(_is_constant(graph, name) for name in layer.input)


def _stays_float(graph: Graph, node: onnx.NodeProto) -> bool:
    readers = graph.consumers(node.output[0])
    fused = [reader for reader in readers if reader.op_type in ("Clip", "Relu")]
    quantized = any(reader.op_type == "QuantizeLinear" for reader in readers)
    return not quantized and all(_stays_float(graph, reader) for reader in fused)


def _layers(graph: Graph) -> Iterator[onnx.NodeProto]:
    return (node for node in graph.nodes if node.op_type in LAYERS)


def _output_axis(graph: Graph, layer: onnx.NodeProto) -> int:
    if layer.op_type == "Gemm":
        return 0 if attribute(layer, "transB", 0) else 1
    return 0 if layer.op_type == "Conv" else -1


def _weight_quantizers(graph: Graph, layer: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    quantizer = graph.producer(layer.input[1])
    while quantizer is not None and quantizer.op_type in ("DequantizeLinear", "QuantizeLinear"):
        if is_weight(graph, quantizer):
            yield quantizer
        quantizer = graph.producer(quantizer.input[0])


def _rank(graph: Graph, quantizer: onnx.NodeProto) -> int:
    source = graph.producer(quantizer.input[0])
    return graph.constants[source.input[0] if source is not None else quantizer.input[0]].ndim


def _is_quantized(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    while node is not None and node.op_type in PASS_THROUGH:
        node = graph.producer(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


def _ends_layer(graph: Graph, name: str, int8: bool) -> bool:
    node = graph.producer(name)
    if node is not None and node.op_type == "Add" and any(_is_constant(graph, summand) for summand in node.input):
        node = next((maker for edge in node.input if (maker := graph.producer(edge)) is not None), None)  # its bias
    return node is not None and node.op_type in LAYERS and _is_quantized(graph, node.input[1]) == int8


def _is_constant(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    return name in graph.constants or (
        node is not None and node.op_type == "DequantizeLinear" and is_weight(graph, node)
    )


def _float_type(graph: Graph, name: str) -> np.dtype[Any] | None:
    """Element type of a weight: its own, or its scale's when a DequantizeLinear makes it."""
    node = graph.producer(name)
    source = node.input[1] if node is not None and node.op_type == "DequantizeLinear" else name
    return graph.constants[source].dtype if source in graph.constants else None


RULES = (weight_axis, input_unquantized, conv_transpose, residual_add, bias_precision)
