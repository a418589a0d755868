"""Layers merged into the weights before them, in float64."""

import re

import numpy as np
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, attribute, set_attribute


def fold_batch_norms(graph: Graph) -> None:
    """Merge each BatchNormalization into the layer that only it reads; write the others as depthwise convolutions."""
    for norm in [node for node in graph.nodes if node.op_type == "BatchNormalization"]:
        if _is_known(graph, norm) and not _fold(graph, norm) and len(graph.shapes.get(norm.input[0]) or ()) > 2:
            _as_convolution(graph, norm)


def fold_channelwise(graph: Graph) -> None:
    """Merge what scales or shifts channels (BatchNormalization, Mul, Add) into the layer that only it reads."""
    for node in graph.nodes:
        if (node.op_type == "BatchNormalization" and _is_known(graph, node)) or node.op_type in {"Add", "Mul"}:
            _fold(graph, node)


def _is_known(graph: Graph, norm: NodeProto) -> bool:
    return not attribute(norm, "training_mode", 0) and all(name in graph.constants for name in norm.input[1:])


def _fold(graph: Graph, node: NodeProto) -> bool:
    """Merge a node into the layer before it; whether that could be done."""
    edge = next((name for name in node.input if name not in graph.constants), "")
    layer = _layer_before(graph, edge, node)
    if layer is None:
        return False
    weight, bias = graph.constants[layer.input[1]], graph.constant(layer, 2)
    axis = _output_axis(layer)
    found = _affine(graph, node, weight.shape[axis], weight.ndim)
    if found is None:
        return False
    gain, shift = found
    set_weight(graph, layer, weight * gain.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]))
    set_bias(graph, layer, shift + gain * (0.0 if bias is None else bias))
    graph.remove(node)
    graph.set_output(layer, 0, node.output[0])
    return True


def _layer_before(graph: Graph, edge: str, node: NodeProto) -> NodeProto | None:
    layer = graph.producer(edge)
    if layer is None or graph.only_consumer(edge) is not node or graph.constant(layer, 1) is None:
        return None
    if any(name not in graph.constants for name in layer.input[2:]) or attribute(layer, "beta", 1.0) != 1:
        return None
    ungrouped = layer.op_type == "ConvTranspose" and attribute(layer, "group", 1) == 1
    return layer if ungrouped or layer.op_type in {"Conv", "Gemm"} else None


def _output_axis(layer: NodeProto) -> int:
    """Where a layer's weight has its output channels."""
    return int(layer.op_type == "ConvTranspose" or (layer.op_type == "Gemm" and not attribute(layer, "transB", 0)))


def _affine(graph: Graph, node: NodeProto, channels: int, rank: int) -> tuple[Array, Array] | None:
    """The factor and the summand of each channel, float64; None where they are no constants of the channels alone."""
    if node.op_type == "BatchNormalization":
        return _gain_and_shift(graph, node)
    value = next((graph.constants[name] for name in node.input if name in graph.constants), None)
    sizes = None if value is None or value.ndim > rank else (*[1] * (rank - value.ndim), *value.shape)
    if value is None or sizes not in {(1,) * rank, (1, channels, *[1] * (rank - 2))}:
        return None
    row = np.broadcast_to(value.astype(np.float64).reshape(-1), channels)
    return (row, np.zeros(channels)) if node.op_type == "Mul" else (np.ones(channels), row)


def _gain_and_shift(graph: Graph, norm: NodeProto) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in norm.input[1:])
    gain = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return gain, beta - gain * mean


def _as_convolution(graph: Graph, norm: NodeProto) -> None:
    """One weight per channel: its largest, so that int8 holds it exactly."""
    gain, shift = _gain_and_shift(graph, norm)
    rank = len(graph.shapes[norm.input[0]])
    norm.op_type = "Conv"
    del norm.attribute[:]
    set_attribute(norm, "group", len(gain))
    set_attribute(norm, "kernel_shape", [1] * (rank - 2))
    set_weight(graph, norm, gain.reshape(-1, *[1] * (rank - 1)))
    set_bias(graph, norm, shift)


def fold_linear_layers(graph: Graph) -> None:
    """Write MatMul and MatMul + Add on matrices as Gemm, and every Gemm with alpha = beta = 1 and transB = 1."""
    for node in graph.nodes:
        weight = graph.constant(node, 1)
        if weight is None or weight.ndim != 2:
            continue
        if node.op_type == "MatMul" and len(graph.shapes.get(node.output[0]) or ()) == 2:
            node.op_type = "Gemm"
            _take_bias(graph, node, weight.shape[1])
        if node.op_type == "Gemm" and not attribute(node, "transA", 0):
            _normalise(graph, node, weight)


def _take_bias(graph: Graph, node: NodeProto, channels: int) -> None:
    add = graph.only_consumer(node.output[0])
    if add is None or add.op_type != "Add":
        return
    bias = next((graph.constants[name] for name in add.input if name in graph.constants), None)
    if bias is not None and bias.shape in {(), (1,), (channels,), (1, 1), (1, channels)}:
        set_bias(graph, node, np.broadcast_to(bias.reshape(-1), channels))
        graph.remove(add)
        graph.set_output(node, 0, add.output[0])


def _normalise(graph: Graph, node: NodeProto, weight: Array) -> None:
    transposed = weight if attribute(node, "transB", 0) else weight.T
    bias = graph.constant(node, 2)
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    if len(node.input) > 2 and bias is None:
        return
    if bias is not None and bias.shape[:-1] not in {(), (1,)}:
        _add_behind(graph, node, np.asarray(bias * beta, np.float32))
        bias = None
    set_weight(graph, node, transposed.astype(np.float64) * alpha)
    if bias is not None:
        set_bias(graph, node, np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, len(transposed)))
    del node.attribute[:]
    set_attribute(node, "transB", 1)


def _add_behind(graph: Graph, node: NodeProto, value: Array) -> None:
    """Let a summand that differs from row to row be added to what a Gemm makes, which has none then."""
    made, result = graph.fresh(f"{node.output[0]}_product"), node.output[0]
    graph.set_inputs(node, node.input[:2])
    graph.set_output(node, 0, made)
    graph.add("Add", [made, graph.add_constant(f"{result}_summand", value)], result)


def set_weight(graph: Graph, node: NodeProto, value: Array) -> None:
    """Give a layer its own float32 weight; the name is kept where no other node reads it."""
    _set_operand(graph, node, 1, value)


def set_bias(graph: Graph, node: NodeProto, value: Array) -> None:
    """Give a layer its own float32 bias, as its last operand."""
    named = len(node.input) > 2 and node.input[2].endswith(".bias")
    graph.set_inputs(node, [*node.input[:2], node.input[2] if named else graph.fresh(f"{layer_name(node)}.bias")])
    _set_operand(graph, node, 2, value)


def _set_operand(graph: Graph, node: NodeProto, index: int, value: Array) -> None:
    name = node.input[index]
    shared = len(graph.consumers(name)) > 1
    graph.set_input(node, index, graph.fresh(name) if shared else name)
    graph.constants[node.input[index]] = np.asarray(value, np.float32)


def layer_name(node: NodeProto) -> str:
    """What users call a layer: the module that owns its weight, else the node's own name."""
    weight = re.fullmatch(r"(.+)\.weight(_\d+)?", node.input[1]) if len(node.input) > 1 else None
    return weight[1] if weight else node.name
