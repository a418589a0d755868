"""Conv: CONV_2D or DEPTHWISE_CONV_2D."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Graph, Node, Quantisation
from edgekd.backends.tflite.maps import on_maps
from edgekd.backends.tflite.padding import Window, map_size, pad, read_window
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.volumes import conv_3d
from edgekd.backends.tflite.writer import Writer

OHWI = (0, 2, 3, 1)
DEPTHWISE = (1, 2, 3, 0)
VOLUME = 5  # dimensions


def refuses_weights(node: Node, graph: Graph) -> str | None:
    """int8 kernels want constant int8 weights centred on zero, one scale per output channel, and an int32 bias."""
    weight = graph.tensors[node.inputs[1]]
    if weight.data is None or weight.quantisation is None or weight.dtype != np.int8:
        return "its weights are not constant int8"
    if weight.quantisation.zero_point.any():
        return "its weights have a zero point other than 0"
    x = graph.tensors[node.inputs[0]].quantisation
    if len(node.inputs) < 3 or not node.inputs[2] or x is None:
        return None
    bias = graph.tensors[node.inputs[2]]
    if bias.dtype != np.int32 or bias.quantisation is None:
        return "its bias is not int32"
    if not np.allclose(bias.quantisation.scale, x.scale * weight.quantisation.scale, rtol=1e-5, atol=0):
        return "its bias scale is not input scale x weight scale"
    return None


def _refuses_int8(node: Node, graph: Graph) -> str | None:
    if graph.tensors[node.inputs[0]].rank == VOLUME:
        return "TFLite has no int8 kernel for volumes"
    weight = graph.tensors[node.inputs[1]].quantisation
    if weight is not None and weight.scale.size > 1 and weight.axis != 0:
        return "its weights are quantised along an axis that is not the output channel"
    return refuses_weights(node, graph)


def _layout(node: Node, graph: Graph) -> Layout:
    return Layout.ORDERED if graph.tensors[node.inputs[0]].rank == VOLUME else Layout.SPATIAL


@rule("Conv", layout=_layout, operands=None, refuses_int8=_refuses_int8, fuses=True)
@on_maps
def conv(writer: Writer, node: Node) -> None:
    """A group per input channel is depthwise; other groups are CONV_2D's own."""
    if writer.tensor(node.output).rank == VOLUME:
        return conv_3d(writer, node)
    weight = writer.graph.required(node, 1)
    window = read_window(node, map_size(writer, node.inputs[0]), weight.shape[2:])
    groups = node.attributes.get("group", 1)
    depthwise = groups > 1 and weight.shape[1] == 1
    kernel = reordered_weight(writer, node, DEPTHWISE if depthwise else OHWI)
    source, padding = pad(writer, node, window)
    options = window_options(schema.DepthwiseConv2DOptionsT if depthwise else schema.Conv2DOptionsT, window, padding)
    options.fusedActivationFunction = activation(node)
    if depthwise:
        options.depthMultiplier = weight.shape[0] // groups
    code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    return writer.op(code, [source, kernel, bias(writer, node, weight.shape[0])], node.output, options)


def reordered_weight(writer: Writer, node: Node, order: tuple[int, ...]) -> str:
    """The weight with its axes in TFLite's order, quantised axis included.

    It keeps its name, unless another kind of op reads it as it was.
    """
    name = node.inputs[1]
    quantisation = writer.graph.tensors[name].quantisation
    if quantisation is not None:
        quantisation = Quantisation(quantisation.scale, quantisation.zero_point, order.index(quantisation.axis))
    shared = any(reader.op != node.op for reader in writer.consumers[name])
    reordered = writer.graph.required(node, 1).transpose(order)
    return writer.constant(f"{node.output}:weight" if shared else name, reordered, quantisation)


def bias(writer: Writer, node: Node, size: int) -> str:
    """The node's bias, or zeros: delegates want one."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return node.inputs[2]
    x, weight = writer.tensor(node.inputs[0]).quantisation, writer.tensor(node.inputs[1]).quantisation
    name = f"{node.output}:zero_bias"
    if x is None or weight is None:
        return writer.constant(name, np.zeros(size, np.float32))
    scale = (x.scale * weight.scale).astype(np.float32)
    return writer.constant(name, np.zeros(size, np.int32), Quantisation(scale, np.zeros(scale.size, np.int64)))


def window_options(kind: Any, window: Window, padding: int) -> Any:
    """TFLite's options for a sliding window."""
    options = kind()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    return options


def activation(node: Node) -> int:
    """TFLite's code of the activation that was fused into a node."""
    return int(getattr(schema.ActivationFunctionType, node.attributes.get("activation", "NONE")))
