"""Pools over windows."""

from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import window_options
from edgekd.backends.tflite.graph import Array, Graph, Node, Quantisation
from edgekd.backends.tflite.maps import on_maps
from edgekd.backends.tflite.padding import Size, Window, map_size, pad, read_window, rounded_up
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer


@rule("MaxPool", layout=Layout.SPATIAL, keeps_scale=True)
@on_maps
def max_pool(writer: Writer, node: Node) -> None:
    """ONNX's padding never wins a maximum: neither does the lowest value."""
    window = _rounded_up(writer, node, _window(writer, node))
    source, padding = pad(writer, node, window, lowest=True)
    writer.op("MAX_POOL_2D", [source], node.output, _pool_options(window, padding))


def _average_refuses_int8(node: Node, graph: Graph) -> str | None:
    padded = any(node.attributes.get("pads") or ()) or node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
    if (padded and not node.attributes.get("count_include_pad", 0)) or node.attributes.get("ceil_mode", 0):
        return "its windows differ in size where they leave out the padding"
    return None


@rule("AveragePool", layout=Layout.SPATIAL, refuses_int8=_average_refuses_int8)
@on_maps
def average_pool(writer: Writer, node: Node) -> None:
    """AVERAGE_POOL_2D in float; in int8 it would round twice when the output has its own scale."""
    size, window = map_size(writer, node.inputs[0]), _window(writer, node)
    x = writer.tensor(node.inputs[0])
    if x.quantisation is not None:
        return _average_by_convolution(writer, node, window, x.quantisation)
    counted = bool(node.attributes.get("count_include_pad", 0))
    if not counted and window.is_same(size):
        source, padding = pad(writer, node, window)
        return writer.op("AVERAGE_POOL_2D", [source], node.output, _pool_options(window, padding))
    source, padding = pad(writer, node, _rounded_up(writer, node, window), same=False)
    share = _share_of_window(window, size, map_size(writer, node.output), counted)
    if (share == 1).all():
        return writer.op("AVERAGE_POOL_2D", [source], node.output, _pool_options(window, padding))
    pooled = writer.like(node.output, f"{node.output}:pooled")
    writer.op("AVERAGE_POOL_2D", [source], pooled, _pool_options(window, padding))
    factor = writer.constant(f"{node.output}:factor", (1 / share).astype(np.float32)[None, :, :, None])
    return writer.op("MUL", [pooled, factor], node.output, schema.MulOptionsT())


def _share_of_window(window: Window, size: Size, result: Size, counted: bool) -> Array:
    """Which part of each window counts: what lies in the map, or in the map and its padding."""
    shares = []
    for axis, (before, after) in enumerate(window.pads):
        first, last = (-before, size[axis] + after) if counted else (0, size[axis])
        starts = np.arange(result[axis]) * window.strides[axis] - before
        inside = np.minimum(starts + window.kernel[axis], last) - np.maximum(starts, first)
        shares.append(inside / window.kernel[axis])
    return np.outer(*shares)


def _average_by_convolution(writer: Writer, node: Node, window: Window, x: Quantisation) -> None:
    """A depthwise convolution with weights of 1 at scale 1/n: one rounding, as in ONNX.

    A window that is nowhere else has a stride of 1: NPUs take no large one.
    """
    if map_size(writer, node.output) == (1, 1):
        window = replace(window, strides=(1, 1))
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


def _rounded_up(writer: Writer, node: Node, window: Window) -> Window:
    if not node.attributes.get("ceil_mode", 0):
        return window
    size, result = map_size(writer, node.inputs[0]), map_size(writer, node.output)
    sides = zip(size, result, window.strides, window.pads, strict=True)
    if any((made - 1) * stride >= here + before for here, made, stride, (before, _) in sides):
        node.refuse(
            "attribute ceil_mode=1: runtimes disagree on a last window that lies in the padding: pad explicitly"
        )
    return rounded_up(window, size, result)


def _window(writer: Writer, node: Node) -> Window:
    window = read_window(node, map_size(writer, node.inputs[0]), tuple(node.attributes["kernel_shape"]))
    if window.dilations != (1, 1):
        node.refuse("attribute dilations has no TFLite form: use a pool without")
    return window


def _pool_options(window: Window, padding: int) -> schema.Pool2DOptionsT:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.kernel
    return options
