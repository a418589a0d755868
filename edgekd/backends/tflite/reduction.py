"""Reductions over axes, and the normalisations that are made of them."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.layout import CHANNELS_LAST
from edgekd.backends.tflite.rules import Layout, float_only, rule
from edgekd.backends.tflite.writer import Writer

GLOBAL = ("GlobalAveragePool", "GlobalMaxPool")
KERNELS = {
    "GlobalAveragePool": "MEAN",
    "GlobalMaxPool": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}
NORMS = {"ReduceL1": ("ABS", ""), "ReduceL2": ("SQUARE", "SQRT"), "ReduceSumSquare": ("SQUARE", "")}


def _layout(node: Node, graph: Graph) -> Layout:
    """A reduction that drops dimensions has to leave the others in ONNX's order."""
    rank = graph.tensors[node.inputs[0]].rank
    if node.op in GLOBAL or node.attributes.get("keepdims", 1) or rank not in CHANNELS_LAST:
        return Layout.FOLLOW
    axes = _axes(node, graph)
    left = [axis for axis in CHANNELS_LAST[rank] if axis not in axes]
    return Layout.FOLLOW if left == sorted(left) else Layout.ORDERED


def _axes(node: Node, graph: Graph) -> list[int]:
    rank = graph.tensors[node.inputs[0]].rank
    if node.op in GLOBAL:
        return list(range(2, rank))
    given = graph.value(node, 1)
    axes = node.attributes.get("axes") if given is None else given.tolist()
    return [axis % rank for axis in axes or range(rank)]


def _sum_refuses_int8(node: Node, graph: Graph) -> str:
    return "TFLite's int8 kernel without XNNPACK does not rescale"


@rule("GlobalAveragePool", "ReduceMean", layout=_layout)
@rule("ReduceSum", layout=_layout, refuses_int8=_sum_refuses_int8)
@rule("ReduceProd", layout=_layout, refuses_int8=float_only)
@rule("GlobalMaxPool", "ReduceMax", "ReduceMin", layout=_layout, keeps_scale=True)
def reduce(writer: Writer, node: Node) -> None:
    """Means in int8 are rescaled once."""
    _reduce(writer, node, KERNELS[node.op], node.inputs[0], node.output)


@rule(*NORMS, layout=_layout, refuses_int8=float_only)
def norm(writer: Writer, node: Node) -> None:
    """A sum of absolute values or of squares, and its root."""
    each, root = NORMS[node.op]
    parts = writer.step(each, node.inputs[:1], f"{node.output}:parts")
    total = writer.like(node.output, f"{node.output}:total") if root else node.output
    _reduce(writer, node, "SUM", parts, total)
    if root:
        writer.op(root, [total], node.output)


def _reduce(writer: Writer, node: Node, code: str, source: str, output: str) -> None:
    rank = writer.tensor(source).rank
    stored = sorted(node.axis(axis, rank) for axis in _axes(node, writer.graph))
    options = schema.ReducerOptionsT()
    options.keepDims = writer.tensor(output).rank == rank
    axes = writer.constant(f"{output}:axes", np.asarray(stored, np.int32))
    writer.op(code, [source, axes], output, options)


@rule("ArgMax", "ArgMin", layout=Layout.ORDERED, refuses_int8=float_only)
def arg_extreme(writer: Writer, node: Node) -> None:
    """Of the first of equal values; int32."""
    if node.attributes.get("select_last_index", 0):
        node.refuse("attribute select_last_index=1: TFLite takes the first of equal values; set it to 0")
    tensor = writer.tensor(node.inputs[0])
    axis = node.attributes.get("axis", 0) % tensor.rank
    code, options = "ARG_MAX", schema.ArgMaxOptionsT()
    if node.op == "ArgMin":
        code, options = "ARG_MIN", schema.ArgMinOptionsT()
    options.outputType = schema.TensorType.INT32
    place = writer.constant(f"{node.output}:axis", np.asarray(axis, np.int32))
    if not node.attributes.get("keepdims", 1):
        return writer.op(code, [node.inputs[0], place], node.output, options)
    shape, signature = ((*sizes[:axis], *sizes[axis + 1 :]) for sizes in (tensor.shape, tensor.signature))
    flat = writer.like(node.output, f"{node.output}:flat", shape=shape, signature=signature)
    writer.op(code, [node.inputs[0], place], flat, options)
    return writer.reshape(flat, node.output)


@rule("CumSum", layout=Layout.FOLLOW, refuses_int8=float_only)
def cumulative_sum(writer: Writer, node: Node) -> None:
    """CUMSUM along a constant axis."""
    options, rank = schema.CumsumOptionsT(), writer.tensor(node.inputs[0]).rank
    options.exclusive, options.reverse = (bool(node.attributes.get(name, 0)) for name in ("exclusive", "reverse"))
    axis = node.axis(int(writer.graph.required(node, 1).item()), rank)
    place = writer.constant(f"{node.output}:axis", np.asarray(axis, np.int32))
    writer.op("CUMSUM", [node.inputs[0], place], node.output, options)


@rule("LRN", layout=Layout.SPATIAL, refuses_int8=float_only)
def local_response(writer: Writer, node: Node) -> None:
    """LOCAL_RESPONSE_NORMALIZATION sums squares where ONNX averages them."""
    size = node.attributes["size"]
    if size % 2 == 0 or writer.tensor(node.inputs[0]).rank != 4:
        node.refuse(f"attribute size={size}: only odd sizes on 2-D maps have a TFLite form: make it {size | 1}")
    options = schema.LocalResponseNormalizationOptionsT()
    options.radius, options.bias = size // 2, node.attributes.get("bias", 1.0)
    options.alpha, options.beta = node.attributes.get("alpha", 1e-4) / size, node.attributes.get("beta", 0.75)
    writer.op("LOCAL_RESPONSE_NORMALIZATION", node.inputs, node.output, options)


@rule("LayerNormalization", layout=Layout.ORDERED, refuses_int8=float_only)
def layer_normalization(writer: Writer, node: Node) -> None:
    """Over the last axes."""
    rank = writer.tensor(node.inputs[0]).rank
    first = node.attributes.get("axis", -1) % rank
    _normalise(writer, node, list(range(first, rank)), list(node.inputs[1:3]))


@rule("InstanceNormalization", layout=Layout.FOLLOW, refuses_int8=float_only)
def instance_normalization(writer: Writer, node: Node) -> None:
    """Over the places of each channel."""
    rank = writer.tensor(node.inputs[0]).rank
    shape = [1] * rank
    shape[node.axis(1, rank)] = -1
    values = [writer.graph.required(node, position).reshape(shape) for position in (1, 2)]
    parameters = [writer.constant(f"{node.output}:{i}", value) for i, value in enumerate(values)]
    _normalise(writer, node, sorted(node.axis(axis, rank) for axis in range(2, rank)), parameters)


def _normalise(writer: Writer, node: Node, axes: list[int], parameters: list[str]) -> None:
    """(x - mean) / sqrt(variance + epsilon), then times the first parameter, then plus the second one."""
    x, name = node.inputs[0], node.output
    tensor = writer.tensor(x)
    over = writer.constant(f"{name}:axes", np.asarray(axes, np.int32))
    epsilon = writer.constant(f"{name}:epsilon", np.asarray(node.attributes.get("epsilon", 1e-5), np.float32))
    options = schema.ReducerOptionsT()
    options.keepDims = True
    shape, signature = (
        tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
        for sizes in (tensor.shape, tensor.signature)
    )
    mean = writer.step("MEAN", [x, over], f"{name}:mean", options, shape=shape, signature=signature)
    centred = writer.step("SUB", [x, mean], f"{name}:centred", schema.SubOptionsT())
    squares = writer.step("SQUARE", [centred], f"{name}:squares", schema.SquareOptionsT())
    variance = writer.step("MEAN", [squares, over], f"{name}:variance", options, shape=shape, signature=signature)
    spread = writer.step("ADD", [variance, epsilon], f"{name}:spread", schema.AddOptionsT())
    factor = writer.step("RSQRT", [spread], f"{name}:factor")
    result = writer.step("MUL", [centred, factor], f"{name}:normal", schema.MulOptionsT())
    applied = [(code, options, p) for code, options, p in zip(
        ("MUL", "ADD"), (schema.MulOptionsT(), schema.AddOptionsT()), parameters, strict=False) if p]  # fmt: skip
    for code, options, parameter in applied:
        last = parameter is applied[-1][2]
        output = node.output if last else writer.like(node.output, f"{name}:{code.lower()}")
        writer.op(code, [result, parameter], output, options)
        result = output
    if not applied:
        writer.alias(node.output, result)
