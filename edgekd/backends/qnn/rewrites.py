"""What a QDQ graph becomes before the HTP's compiler sees it. No value changes by it.

A layer takes its activation in only where the quantiser behind it does the activation's work, as of a ReLU whose zero
point is the least integer; else the compiler would compute the layer in float16. There, as where a Concat's parts share
a scale, a quantiser is put between the two, with the scale and zero point of the one behind: both operations keep the
order of values, and zero is on the grid.

Inputs and outputs are integers: a quantiser that the HTP computes itself is merged with the first layer, and two steps
off then.
"""

import numpy as np
import onnx
from onnx import NodeProto
from onnx.helper import np_dtype_to_tensor_dtype

from edgekd.onnx_graph import Graph
from edgekd.quantization.graph_ir import ACTIVATIONS
from edgekd.quantization.qdq import affine_of
from edgekd.quantization.ranges import Affine


def part_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with quantisers between layers and activations that the next quantiser does not stand for."""
    graph = Graph(model)
    for quantize in [node for node in graph.nodes if node.op_type == "QuantizeLinear"]:
        activation = graph.producer(quantize.input[0])
        if activation is None or activation.op_type not in ACTIVATIONS or _vanishes(graph, activation, quantize):
            continue
        before = graph.producer(activation.input[0])
        if before is not None and before.op_type != "DequantizeLinear":
            _part(graph, activation, quantize)
    return graph.model()


def integer_borders(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Affine]]:
    """A copy whose quantised inputs and outputs are integers, and what these stand for, by name."""
    graph = Graph(model)
    entering, leaving = _entering(graph), _leaving(graph)
    quantizers = entering | leaving
    borders = {name: affine_of(graph, node) for name, node in quantizers.items()}
    types = {name: np_dtype_to_tensor_dtype(graph.constants[node.input[2]].dtype) for name, node in quantizers.items()}
    for name, quantize in entering.items():
        graph.remove(quantize)
        graph.reroute(quantize.output[0], name)
    for name, dequantize in leaving.items():
        maker, stored = graph.producer(dequantize.input[0]), dequantize.input[0]
        assert maker is not None
        graph.remove(dequantize)
        graph.reroute(stored, name)
        graph.set_output(maker, 0, name)
    changed = graph.model()
    for value in (*changed.graph.input, *changed.graph.output):
        value.type.tensor_type.elem_type = types.get(value.name, value.type.tensor_type.elem_type)
    return changed, borders


def _entering(graph: Graph) -> dict[str, NodeProto]:
    """The inputs that are quantised first of all, with their quantisers."""
    readers = {name: graph.only_consumer(name) for name in graph.inputs}
    return {name: node for name, node in readers.items() if node is not None and node.op_type == "QuantizeLinear"}


def _leaving(graph: Graph) -> dict[str, NodeProto]:
    """The outputs that are dequantised last of all, one for each tensor, with what dequantises them."""
    found: dict[str, NodeProto] = {}
    for name in graph.outputs:
        node = graph.producer(name)
        if node is not None and node.op_type == "DequantizeLinear" and not graph.consumers(name):
            maker = graph.producer(node.input[0])
            if maker is not None and maker.op_type == "QuantizeLinear" and node.input[0] not in graph.outputs:
                found.setdefault(node.input[0], node)
    return {node.output[0]: node for node in found.values()}


def _vanishes(graph: Graph, activation: NodeProto, quantize: NodeProto) -> bool:
    """Whether all that the quantiser can hold passes the activation unchanged."""
    scale, zero_point = graph.constant(quantize, 1), graph.constant(quantize, 2)
    if scale is None or zero_point is None or scale.size != 1:
        return False
    stored = np.iinfo(zero_point.dtype)
    low, high = ((limit - int(zero_point.item())) * float(scale.item()) for limit in (stored.min, stored.max))
    least, most = 0.0, np.inf
    if activation.op_type == "Clip":
        bounds = [graph.constant(activation, index) for index in (1, 2)]
        least, most = (
            usual if bound is None else float(bound.item())
            for bound, usual in zip(bounds, (-np.inf, np.inf), strict=True)
        )
    return least <= low and high <= most


def _part(graph: Graph, activation: NodeProto, quantize: NodeProto) -> None:
    source, operands = activation.input[0], quantize.input[1:]
    stored, result = graph.fresh(f"{source}_quantized"), graph.fresh(f"{source}_dequantized")
    for kind, edge, made in (("QuantizeLinear", source, stored), ("DequantizeLinear", stored, result)):
        own = [graph.add_constant(f"{made}.{index}", graph.constants[name]) for index, name in enumerate(operands)]
        graph.add(kind, [edge, *own], made)
    graph.set_input(activation, 0, result)
