"""Pools over windows and over whole maps."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import window_options
from edgekd.backends.tflite.graph import Graph, Node, Quantisation
from edgekd.backends.tflite.padding import NO_PADS, Window, map_size, pad, read_window
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer

GLOBAL = ("GlobalAveragePool", "GlobalMaxPool")


@rule("MaxPool", layout=Layout.SPATIAL, keeps_scale=True)
def max_pool(writer: Writer, node: Node) -> None:
    """ONNX's padding never wins a maximum: neither does the lowest value."""
    window = _window(writer, node)
    source, padding = pad(writer, node, window, lowest=True)
    writer.op("MAX_POOL_2D", [source], node.output, _pool_options(window, padding))


def _average_refuses_int8(node: Node, graph: Graph) -> str | None:
    padded = any(node.attributes.get("pads") or ()) or node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
    if padded and not node.attributes.get("count_include_pad", 0):
        return "its windows differ in size where they leave out the padding"
    return None


@rule("AveragePool", layout=Layout.SPATIAL, refuses_int8=_average_refuses_int8)
def average_pool(writer: Writer, node: Node) -> None:
    """AVERAGE_POOL_2D leaves padding out, and in int8 rounds twice when the output has its own scale."""
    window = _window(writer, node)
    x = writer.tensor(node.inputs[0])
    if x.quantisation is not None:
        _average_by_convolution(writer, node, window, x.quantisation)
        return
    whole = bool(node.attributes.get("count_include_pad", 0)) or window.pads == NO_PADS
    if not whole and not window.is_same(map_size(writer, node.inputs[0])):
        node.refuse("attribute pads with count_include_pad=0 differs from TFLite's SAME: pad explicitly")
    source, padding = pad(writer, node, window, same=not whole)
    writer.op("AVERAGE_POOL_2D", [source], node.output, _pool_options(window, padding))


def _average_by_convolution(writer: Writer, node: Node, window: Window, x: Quantisation) -> None:
    """A depthwise convolution with weights of 1 at scale 1/n: one rounding, as in ONNX."""
    channels = writer.tensor(node.inputs[0]).shape[3]
    scale = np.full(channels, 1 / np.prod(window.kernel), np.float32)
    zeros = np.zeros(channels, np.int64)
    ones = np.ones((1, *window.kernel, channels), np.int8)
    weight = writer.constant(f"{node.output}:ones", ones, Quantisation(scale, zeros, 3))
    bias = Quantisation((x.scale * scale).astype(np.float32), zeros)
    zero_bias = writer.constant(f"{node.output}:zero_bias", np.zeros(channels, np.int32), bias)
    source, padding = pad(writer, node, window)
    options = window_options(schema.DepthwiseConv2DOptionsT, window, padding)
    options.depthMultiplier = 1
    writer.op("DEPTHWISE_CONV_2D", [source, weight, zero_bias], node.output, options)


def _layout_of_reduction(node: Node, graph: Graph) -> Layout:
    """A reduction that drops dimensions leaves the others in ONNX's order when they are not a mix of both layouts."""
    axes = set(_axes(node, graph))
    keeps = node.op in GLOBAL or node.attributes.get("keepdims", 1)
    return Layout.FOLLOW if keeps or axes >= {2, 3} or 1 in axes else Layout.ORDERED


def _axes(node: Node, graph: Graph) -> list[int]:
    rank = graph.tensors[node.inputs[0]].rank
    if node.op in GLOBAL:
        return list(range(2, rank))
    axes = node.attributes.get("axes") or graph.required(node, 1).tolist()
    return [axis % rank for axis in axes]


@rule("GlobalAveragePool", "ReduceMean", layout=_layout_of_reduction)
def mean(writer: Writer, node: Node) -> None:
    """MEAN's int8 kernel sums in int32 and rescales once."""
    _reduce(writer, node, "MEAN")


@rule("GlobalMaxPool", layout=Layout.FOLLOW, keeps_scale=True)
def global_max_pool(writer: Writer, node: Node) -> None:
    """REDUCE_MAX over the map."""
    _reduce(writer, node, "REDUCE_MAX")


def _reduce(writer: Writer, node: Node, code: str) -> None:
    rank = writer.tensor(node.inputs[0]).rank
    stored = sorted(node.axis(axis, rank) for axis in _axes(node, writer.graph))
    options = schema.ReducerOptionsT()
    options.keepDims = writer.tensor(node.output).rank == rank
    axes = writer.constant(f"{node.output}:axes", np.asarray(stored, np.int32))
    writer.op(code, [node.inputs[0], axes], node.output, options)


def _window(writer: Writer, node: Node) -> Window:
    window = read_window(node, map_size(writer, node.inputs[0]), tuple(node.attributes["kernel_shape"]))
    if window.dilations != (1, 1):
        node.refuse("attribute dilations has no TFLite form")
    return window


def _pool_options(window: Window, padding: int) -> schema.Pool2DOptionsT:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.kernel
    return options
