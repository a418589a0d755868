"""Empirical bias correction (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.2): weights only, inputs in float.

What a rounding error E of a layer's weights adds to its mean output is what E makes of its mean input: both are linear.
A layer that is called twice has two products, each with a bias of its own: they are told apart by the edge they make.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph
from edgekd.quantization.fold import layer_name, set_bias
from edgekd.quantization.graph_ir import BIASED
from edgekd.quantization.qdq import rounded_weight
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

MATRICES = frozenset({"Gemm", "MatMul"})


def corrected_inputs(model: onnx.ModelProto, layers: Collection[str]) -> dict[str, str]:
    """Return what each product of the layers reads that has a bias to correct, by the edge that it makes."""
    graph = Graph(model)
    return {
        node.output[0]: node.input[0] for node in graph.nodes if layer_name(node) in layers and _takes_bias(graph, node)
    }


def averaged_axes(model: onnx.ModelProto, products: Collection[str]) -> dict[str, int]:
    """Return over how many leading dimensions the inputs of products are averaged: all but the last of matrices (-1).

    What a convolution reads has its samples first, and its places stay.
    """
    graph = Graph(model)
    found: dict[str, int] = {}
    for node in _chosen(graph, products):
        places = -1 if node.op_type in MATRICES else 1
        found[node.input[0]] = max(places, found.get(node.input[0], -1))
    return found


def bias_shifts(
    model: onnx.ModelProto, scheme: Scheme, products: Collection[str], means: Mapping[str, Array]
) -> dict[str, Array]:
    """Return what rounding its weights adds to each product's mean, by channel; `means` are those of the inputs.

    A mean is over leading dimensions, as `averaged_axes` says, which it keeps as 1.
    """
    graph = Graph(model)
    chosen = _chosen(graph, products)
    if not chosen:
        return {}
    made = Reference(_errors(graph, chosen, scheme, means)).run(
        {node.input[0]: means[node.input[0]] for node in chosen}
    )
    return {node.output[0]: _by_channel(made[_error_of(node)], node) for node in chosen}


def shift_biases(model: onnx.ModelProto, shifts: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a float model whose biases make up for the products' shifts."""
    graph = Graph(model)
    for node in _chosen(graph, shifts):
        _shift_bias(graph, node, shifts[node.output[0]])
    return graph.model()


def _chosen(graph: Graph, products: Collection[str]) -> list[NodeProto]:
    return [node for node in graph.nodes if node.output and node.output[0] in products]


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


def _errors(graph: Graph, layers: list[NodeProto], scheme: Scheme, means: Mapping[str, Array]) -> onnx.ModelProto:
    """A model that applies to each layer's input the rounding error of its weights, and nothing else."""
    nodes, weights = [], {}
    for node in layers:
        weight, name = graph.constants[node.input[1]], f"{_error_of(node)}.weight"
        weights[name] = (rounded_weight(node, weight, scheme) - weight).astype(np.float32)
        twin = onnx.helper.make_node(node.op_type, [node.input[0], name], [_error_of(node)])
        twin.attribute.extend(node.attribute)
        nodes.append(twin)
    inputs = [_float_value(edge, means[edge].ndim) for edge in dict.fromkeys(node.input[0] for node in layers)]
    outputs = [_float_value(_error_of(node), None) for node in layers]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    errors = onnx.helper.make_graph(nodes, "errors", inputs, outputs, tensors)
    opsets = [onnx.helper.make_opsetid("", graph.opset)]
    return onnx.helper.make_model(errors, opset_imports=opsets, ir_version=graph.model().ir_version)


def _float_value(name: str, rank: int | None) -> onnx.ValueInfoProto:
    shape = None if rank is None else [None] * rank
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _error_of(node: NodeProto) -> str:
    return f"{node.output[0]}.error"


def _by_channel(values: Array, node: NodeProto) -> Array:
    axis = (-1 if node.op_type == "MatMul" else 1) % values.ndim
    others = tuple(other for other in range(values.ndim) if other != axis)
    return np.asarray(values.mean(axis=others, dtype=np.float64))
