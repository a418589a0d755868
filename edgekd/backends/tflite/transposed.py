"""ConvTranspose, without TRANSPOSE_CONV, which would fix the batch in its output shape."""

from math import ceil

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import activation, refuses_weights, window_options
from edgekd.backends.tflite.graph import Array, Graph, Node, Quantisation
from edgekd.backends.tflite.indexing import strided_slice
from edgekd.backends.tflite.maps import on_maps
from edgekd.backends.tflite.padding import Size, Window, map_size, pad
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer


def _transpose_refuses_int8(node: Node, graph: Graph) -> str | None:
    weight = graph.tensors[node.inputs[1]].quantisation
    if weight is not None and weight.scale.size > 1 and (weight.axis != 1 or node.attributes.get("group", 1) != 1):
        return "its weights are quantised along an axis that is not the output channel"
    return refuses_weights(node, graph)


@rule("ConvTranspose", layout=Layout.SPATIAL, operands=None, refuses_int8=_transpose_refuses_int8, fuses=True)
@on_maps
def conv_transpose(writer: Writer, node: Node) -> None:
    """A convolution with a channel for each sub-pixel (Shi et al., arXiv:1609.07009), then a shuffle."""
    strides, kernel = _strides(node), _dilated(node, _dense(node, writer.graph.required(node, 1)))
    taps = (ceil(kernel.shape[2] / strides[0]), ceil(kernel.shape[3] / strides[1]))
    firsts, counts = _phases(writer, node, strides, taps)
    before = map_size(writer, node.inputs[0])
    pads = [
        (tap - 1 - first, first + count - here)
        for tap, first, count, here in zip(taps, firsts, counts, before, strict=True)
    ]
    window = Window(taps, (1, 1), (1, 1), (pads[0], pads[1]))
    source, padding = pad(writer, node, window)
    weight, bias, channels = _sub_pixel_parameters(writer, node, kernel, strides, taps)
    options = window_options(schema.Conv2DOptionsT, window, padding)
    options.fusedActivationFunction = activation(node)
    made, many = writer.tensor(node.output), channels * strides[0] * strides[1]
    shape, signature = ((sizes[0], *counts, many) for sizes in (made.shape, made.signature))
    phases = writer.like(node.output, f"{node.output}:phases", shape=shape, signature=signature)
    writer.op("CONV_2D", [source, weight, bias], phases, options)
    _shuffle(writer, node, phases, strides, counts, firsts)


def _strides(node: Node) -> Size:
    height, width = node.attributes.get("strides") or (1, 1)
    if height not in (1, width):
        node.refuse(f"attribute strides={height},{width}: only equal strides have a TFLite form")
    return height, width


def _dense(node: Node, weight: Array) -> Array:
    """(inputs, outputs, height, width), zero between groups."""
    groups = node.attributes.get("group", 1)
    inputs, outputs = weight.shape[:2]
    dense = np.zeros((inputs, groups * outputs, *weight.shape[2:]), weight.dtype)
    each = inputs // groups
    for group in range(groups):
        rows, columns = slice(group * each, (group + 1) * each), slice(group * outputs, (group + 1) * outputs)
        dense[rows, columns] = weight[rows]
    return dense


def _dilated(node: Node, kernel: Array) -> Array:
    steps = node.attributes.get("dilations") or (1, 1)
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape[2:], steps, strict=True)]
    dilated = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    dilated[:, :, :: steps[0], :: steps[1]] = kernel
    return dilated


def _phases(writer: Writer, node: Node, strides: Size, taps: Size) -> tuple[list[int], list[int]]:
    """First place and number of places that the convolution computes, per side: those that the output needs."""
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or node.attributes.get("output_shape"):
        node.refuse("attributes auto_pad and output_shape have no TFLite form: export it with pads")
    starts = (node.attributes.get("pads") or (0, 0, 0, 0))[:2]
    firsts, counts = [], []
    for start, stride, tap, made, here in zip(
        starts, strides, taps, map_size(writer, node.output), map_size(writer, node.inputs[0]), strict=True
    ):
        first = min(start // stride, tap - 1)
        firsts.append(first)
        counts.append(max((start + made - 1) // stride, here - 1) - first + 1)
    return firsts, counts


def _sub_pixel_parameters(writer: Writer, node: Node, kernel: Array, strides: Size, taps: Size) -> tuple[str, str, int]:
    """Weight (phases x outputs, taps, inputs), bias, and the number of outputs."""
    inputs, outputs, height, width = kernel.shape
    whole = np.zeros((inputs, outputs, taps[0] * strides[0], taps[1] * strides[1]), kernel.dtype)
    whole[:, :, :height, :width] = kernel
    split = whole.reshape(inputs, outputs, taps[0], strides[0], taps[1], strides[1])
    phases = split[:, :, ::-1, :, ::-1].transpose(3, 5, 1, 2, 4, 0)
    weight = np.ascontiguousarray(phases).reshape(-1, *taps, inputs)
    repeats = strides[0] * strides[1]
    stored = writer.graph.tensors[node.inputs[1]].quantisation
    repeated = _repeated(stored, outputs, repeats)
    name = writer.constant(f"{node.output}:weight", weight, repeated)
    given = writer.graph.value(node, 2)
    x = writer.tensor(node.inputs[0]).quantisation
    bias = np.zeros(outputs, np.float32 if repeated is None else np.int32) if given is None else given
    steps = None
    if repeated is not None and x is not None:
        steps = Quantisation((x.scale * repeated.scale).astype(np.float32), repeated.zero_point)
    return name, writer.constant(f"{node.output}:bias", np.tile(bias, repeats), steps), outputs


def _repeated(stored: Quantisation | None, outputs: int, repeats: int) -> Quantisation | None:
    if stored is None:
        return None
    scale = np.tile(np.broadcast_to(stored.scale, outputs), repeats)
    return Quantisation(scale, np.zeros(scale.size, np.int64), 0)


def _shuffle(writer: Writer, node: Node, phases: str, strides: Size, counts: list[int], firsts: list[int]) -> None:
    """Phases to their places, then the part that is asked for."""
    made = writer.tensor(node.output)
    sizes = [count * stride for count, stride in zip(counts, strides, strict=True)]
    starts = (node.attributes.get("pads") or (0, 0, 0, 0))[:2]
    begins = [start - first * stride for start, first, stride in zip(starts, firsts, strides, strict=True)]
    exact = tuple(sizes) == made.shape[1:3]
    shape, signature = ((s[0], *sizes, s[3]) for s in (made.shape, made.signature))
    whole = node.output if exact else writer.like(node.output, f"{node.output}:whole", shape=shape, signature=signature)
    if strides == (1, 1):
        writer.alias(whole, phases)
    elif strides[0] == 1:
        writer.reshape(phases, whole)
    else:
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = strides[0]
        writer.op("DEPTH_TO_SPACE", [phases], whole, options)
    if not exact:
        places = [(begin, begin + size, 1) for begin, size in zip(begins, made.shape[1:3], strict=True)]
        strided_slice(writer, whole, node.output, [(0, shape[0], 1), *places, (0, shape[3], 1)])
