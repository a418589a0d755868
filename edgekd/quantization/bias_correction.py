"""Empirical bias correction (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.2): weights only, inputs in float."""

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph
from edgekd.quantization.fold import layer_name, set_bias
from edgekd.quantization.placement import BIASED
from edgekd.quantization.qdq import channel_axis
from edgekd.quantization.ranges import quantize_weight, weight_scale
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme


def correct_biases(
    model: onnx.ModelProto, scheme: Scheme, layers: Collection[str], batches: Iterable[dict[str, Array]]
) -> onnx.ModelProto:
    """A float model whose biases make up for what rounding those layers' weights will add to their mean outputs."""
    graph = Graph(model)
    chosen = [node for node in graph.nodes if node.op_type in BIASED and layer_name(node) in layers]
    twins, errors = _with_twins(model, scheme, [node.output[0] for node in chosen])
    shifts = _means(Reference(twins, list(errors.values())), list(errors.values()), batches)
    for node in chosen:
        bias, shift = graph.constant(node, 2), shifts[errors[node.output[0]]]
        set_bias(graph, node, (0.0 if bias is None else bias) - shift)
    return graph.model()


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


def _means(reference: Reference, edges: list[str], batches: Iterable[dict[str, Array]]) -> dict[str, Array]:
    """Mean of each edge per channel, its second axis, over the batches."""
    sums: dict[str, Array] = {edge: np.zeros(1) for edge in edges}
    count = 0
    for batch in batches:
        values = reference.run(batch)
        for edge in edges:
            axes = (0, *range(2, values[edge].ndim))
            sums[edge] = sums[edge] + values[edge].mean(axis=axes, dtype=np.float64)
        count += 1
    return {edge: total / max(count, 1) for edge, total in sums.items()}
