"""int8 weights without calibration: activations stay in float, or are quantised by the runtime as they come.

Both serve matrix products and the tables of embeddings, where the bytes of a transformer lie; convolutions are left
alone. Weights have a scale per output, tables one per row. A calibrated model's tables can be stored as it reads them.
"""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from edgekd.errors import NothingToGainError
from edgekd.onnx_graph import Array, Graph, attribute
from edgekd.quantization.ranges import quantize_weight, weight_scale
from edgekd.quantization.scheme import find_scheme

SCHEME = find_scheme("int8-asymmetric")  # of the weights: symmetric, ±127
LEAST_ELEMENTS = 1024  # below, a weight's integers save less than what reads them costs


def int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float model whose large weights are integers behind a DequantizeLinear; NothingToGainError if none is large."""
    return _narrowed(model, dynamic=False)


def dynamic_range(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float model that multiplies integers: inputs are quantised by their own range, whole batch by whole batch.

    Raises NothingToGainError if no weight is large.
    """
    return _narrowed(model, dynamic=True)


def int8_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QDQ model whose tables hold what its quantisers make of their rows: smaller, and bit by bit the same."""
    graph, changed = Graph(model), False
    for node in graph.nodes:
        table, reader = graph.constant(node, 0), graph.only_consumer(node.output[0])
        if node.op_type != "Gather" or table is None or reader is None or reader.op_type != "QuantizeLinear":
            continue
        scale, zero_point = graph.constant(reader, 1), graph.constant(reader, 2)
        if table.dtype == np.float32 and scale is not None and zero_point is not None and scale.size == 1:
            limits = np.iinfo(zero_point.dtype)
            steps = np.rint(table / scale) + zero_point.astype(np.float32)
            stored = np.clip(steps, limits.min, limits.max).astype(zero_point.dtype)
            result = reader.output[0]
            graph.set_input(node, 0, graph.add_constant(f"{node.input[0]}_int8", stored))
            graph.remove(reader)
            graph.set_output(node, 0, result)
            changed = True
    return graph.model() if changed else model


def _narrowed(model: onnx.ModelProto, dynamic: bool) -> onnx.ModelProto:
    graph, changed = Graph(model), False
    quantized: dict[str, tuple[str, str, str]] = {}
    for node in graph.nodes:
        weight = graph.constant(node, 0 if node.op_type == "Gather" else 1)
        if weight is None or weight.dtype != np.float32 or weight.ndim != 2 or weight.size < LEAST_ELEMENTS:
            continue
        if node.op_type == "Gather" and attribute(node, "axis", 0) == 0:
            _look_up(graph, node, weight)
        elif node.op_type in ("MatMul", "Gemm") and _is_plain(node):
            _multiply(graph, node, weight, quantized) if dynamic else _dequantize(graph, node, weight)
        else:
            continue
        changed = True
    if not changed:
        raise NothingToGainError(f"no matrix product or table has {LEAST_ELEMENTS} weights or more")
    narrowed = graph.model()
    onnx.checker.check_model(narrowed, full_check=True)
    return narrowed


def _is_plain(node: NodeProto) -> bool:
    """Whether a Gemm is x · W + b, its weight either way round."""
    return not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1


def _outputs_axis(node: NodeProto) -> int:
    return 0 if attribute(node, "transB", 0) else 1


def _look_up(graph: Graph, node: NodeProto, table: Array) -> None:
    """Rows as integers times the scale of each: only what is read is widened."""
    name, (table_name, indices), result = node.name, node.input, node.output[0]
    scale = weight_scale(table, 0, SCHEME)
    stored = graph.add_constant(f"{table_name}_int8", quantize_weight(table, scale, 0, SCHEME))
    scales = graph.add_constant(f"{table_name}_scales", scale[:, None])
    graph.remove(node)
    rows, steps, whole = (graph.fresh(f"{name}_{part}") for part in ("rows", "steps", "whole"))
    graph.add("Gather", [stored, indices], rows, axis=0)
    graph.add("Gather", [scales, indices], steps, axis=0)
    graph.add("Cast", [rows], whole, to=TensorProto.FLOAT)
    graph.add("Mul", [whole, steps], result)


def _stored(graph: Graph, node: NodeProto, weight: Array, axis: int) -> tuple[str, Array]:
    scale = weight_scale(weight, axis, SCHEME)
    return graph.add_constant(f"{node.input[1]}_int8", quantize_weight(weight, scale, axis, SCHEME)), scale


def _dequantize(graph: Graph, node: NodeProto, weight: Array) -> None:
    axis = _outputs_axis(node)
    stored, scale = _stored(graph, node, weight, axis)
    operands = [
        graph.add_constant(f"{stored}_scale", scale),
        graph.add_constant(f"{stored}_zero_point", np.zeros(scale.shape, np.int8)),
    ]
    result = graph.fresh(f"{node.input[1]}_wide")
    graph.add("DequantizeLinear", [stored, *operands], result, axis=axis)
    graph.set_input(node, 1, result)


def _multiply(graph: Graph, node: NodeProto, weight: Array, quantized: dict[str, tuple[str, str, str]]) -> None:
    """x · W as integers, widened by the scales of both, then the bias: as runtimes fuse it."""
    source, bias, result = node.input[0], node.input[2:], node.output[0]
    weight = weight if _outputs_axis(node) else weight.T
    stored, scale = _stored(graph, node, np.ascontiguousarray(weight), 1)
    scales = graph.add_constant(f"{stored}_scales", scale)
    graph.remove(node)
    if source not in quantized:
        quantized[source] = _quantize(graph, source)
    rounded, step, zero_point = quantized[source]
    integers, whole, both = (graph.fresh(f"{result}_{part}") for part in ("integers", "whole", "scales"))
    product = graph.fresh(f"{result}_product") if bias else result
    graph.add("MatMulInteger", [rounded, stored, zero_point], integers)
    graph.add("Cast", [integers], whole, to=TensorProto.FLOAT)
    graph.add("Mul", [step, scales], both)
    graph.add("Mul", [whole, both], product)
    if bias:
        graph.add("Add", [product, *bias], result)


def _quantize(graph: Graph, edge: str) -> tuple[str, str, str]:
    """An edge in uint8, its scale and its zero point, found as it comes."""
    rounded, step, zero_point = (graph.fresh(f"{edge}_{part}") for part in ("rounded", "step", "zero_point"))
    node = graph.add("DynamicQuantizeLinear", [edge], rounded)
    for index, name in enumerate((step, zero_point), start=1):
        node.output.append(name)
        graph.set_output(node, index, name)
    return rounded, step, zero_point
