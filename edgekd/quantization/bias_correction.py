"""Empirical bias correction (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.2): weights only, inputs in float."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph
from edgekd.quantization.fold import layer_name, set_bias
from edgekd.quantization.graph_ir import BIASED
from edgekd.quantization.qdq import channel_axis
from edgekd.quantization.ranges import quantize_weight, weight_scale
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme


def correct_biases(
    model: onnx.ModelProto, scheme: Scheme, layers: Collection[str], batches: Iterable[dict[str, Array]]
) -> onnx.ModelProto:
    """A float model whose biases make up for what rounding those layers' weights will add to their mean outputs."""
    graph = Graph(model)
    chosen = [node for node in graph.nodes if layer_name(node) in layers and _takes_bias(graph, node)]
    twins, errors = _with_twins(model, scheme, [node.output[0] for node in chosen])
    channels = {errors[node.output[0]]: -1 if node.op_type == "MatMul" else 1 for node in chosen}
    shifts = _means(Reference(twins, list(channels)), channels, batches)
    for node in chosen:
        _shift_bias(graph, node, shifts[errors[node.output[0]]])
    return graph.model()


def _takes_bias(graph: Graph, node: NodeProto) -> bool:
    return node.op_type in BIASED or (node.op_type == "MatMul" and _added(graph, node) is not None)


def _added(graph: Graph, product: NodeProto) -> NodeProto | None:
    """The Add behind a product that is its bias, one value per channel."""
    add, weight = graph.only_consumer(product.output[0]), graph.constant(product, 1)
    if add is None or add.op_type != "Add" or weight is None:
        return None
    values = [graph.constants[edge] for edge in add.input if edge in graph.constants]
    return add if values and values[0].shape == weight.shape[-1:] else None


def _shift_bias(graph: Graph, node: NodeProto, shift: Array) -> None:
    add = _added(graph, node) if node.op_type == "MatMul" else None
    if add is None:
        bias = graph.constant(node, 2)
        set_bias(graph, node, (0.0 if bias is None else bias) - shift)
        return
    index = next(index for index, edge in enumerate(add.input) if edge in graph.constants)
    bias = (graph.constants[add.input[index]] - shift).astype(np.float32)
    graph.set_input(add, index, graph.add_constant(add.input[index], bias))


def _with_twins(
    model: onnx.ModelProto, scheme: Scheme, edges: Collection[str]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Beside each layer one that applies the rounding error of its weights; their outputs by the layer's own."""
    graph = Graph(model)
    errors = {}
    for edge in edges:
        node = graph.producer(edge)
        if node is not None:
            errors[edge] = graph.fresh(f"{edge}_error")
            _add_twin(graph, node, errors[edge], scheme)
            graph.add_output(errors[edge], like=graph.outputs[0])
    return graph.model(), errors


def _add_twin(graph: Graph, node: NodeProto, result: str, scheme: Scheme) -> None:
    weight = graph.constants[node.input[1]]
    axis = channel_axis(node, weight)
    scale = weight_scale(weight, axis, scheme)
    shape = [-1 if other == axis else 1 for other in range(weight.ndim)]
    error = quantize_weight(weight, scale, axis, scheme) * scale.reshape(shape) - weight
    twin = graph.add(node.op_type, [node.input[0], graph.add_constant(f"{result}_weight", error)], result)
    twin.attribute.extend(node.attribute)


def _means(reference: Reference, channels: Mapping[str, int], batches: Iterable[dict[str, Array]]) -> dict[str, Array]:
    """Mean of each edge over the batches, one value along the axis of its channels."""
    sums: dict[str, Array] = {edge: np.zeros(1) for edge in channels}
    count = 0
    for batch in batches:
        values = reference.run(batch)
        for edge, axis in channels.items():
            others = tuple(other for other in range(values[edge].ndim) if other != axis % values[edge].ndim)
            sums[edge] = sums[edge] + values[edge].mean(axis=others, dtype=np.float64)
        count += 1
    return {edge: total / max(count, 1) for edge, total in sums.items()}
