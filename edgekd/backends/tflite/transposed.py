"""ConvTranspose: TRANSPOSE_CONV fixes the batch in its output shape, so another form serves where that is free."""

from collections.abc import Sequence
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
    """TRANSPOSE_CONV where the batch is known and there is something to spread, else a convolution and a shuffle."""
    strides, kernel = _strides(node), _dilated(node, _dense(node, writer.graph.required(node, 1)))
    starts, made = _starts(node), map_size(writer, node.output)
    sides = zip(map_size(writer, node.inputs[0]), strides, kernel.shape[2:], strict=True)
    reach = [here * stride + max(taps - stride, 0) for here, stride, taps in sides]
    spread = strides[0] > 1 and -1 not in writer.tensor(node.output).signature
    if not spread or any(start + size > end for start, size, end in zip(starts, made, reach, strict=True)):
        return _by_sub_pixels(writer, node, strides, kernel)
    if _is_same(writer, node, strides, kernel):
        return _transpose_conv(writer, node, node.output, strides, kernel, schema.Padding.SAME)
    whole = _whole(writer, node, reach)
    _transpose_conv(writer, node, whole, strides, kernel, schema.Padding.VALID)
    return _cut(writer, node, whole, starts)


def _is_same(writer: Writer, node: Node, strides: Size, kernel: Array) -> bool:
    """Whether the output has as many places per place of the input as a stride, around it as TFLite's SAME has them."""
    sizes = map_size(writer, node.inputs[0]), map_size(writer, node.output)
    sides = zip(*sizes, _starts(node), strides, kernel.shape[2:], strict=True)
    return all((made, start) == (here * step, max(taps - step, 0) // 2) for here, made, start, step, taps in sides)


def _transpose_conv(writer: Writer, node: Node, output: str, strides: Size, kernel: Array, padding: int) -> None:
    weight_steps = _repeated(writer.graph.tensors[node.inputs[1]].quantisation, kernel.shape[1], 1)
    weight = np.ascontiguousarray(kernel.transpose(1, 2, 3, 0))
    inputs = [
        writer.constant(f"{node.output}:shape", np.asarray(writer.tensor(output).shape, np.int32)),
        writer.constant(f"{node.output}:weight", weight, weight_steps),
        node.inputs[0],
        _bias(writer, node, weight_steps, kernel.shape[1], 1),
    ]
    options = schema.TransposeConvOptionsT()
    options.padding, options.fusedActivationFunction = int(padding), activation(node)
    options.strideH, options.strideW = strides
    writer.op("TRANSPOSE_CONV", inputs, output, options)


def _by_sub_pixels(writer: Writer, node: Node, strides: Size, kernel: Array) -> None:
    """A convolution with a channel for each sub-pixel (Shi et al., arXiv:1609.07009), then a shuffle."""
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


def _starts(node: Node) -> Size:
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or node.attributes.get("output_shape"):
        node.refuse("attributes auto_pad and output_shape have no TFLite form: export it with pads")
    top, left = (node.attributes.get("pads") or (0, 0, 0, 0))[:2]
    return top, left


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
    firsts, counts = [], []
    for start, stride, tap, made, here in zip(
        _starts(node), strides, taps, map_size(writer, node.output), map_size(writer, node.inputs[0]), strict=True
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
    return name, _bias(writer, node, repeated, outputs, repeats), outputs


def _bias(writer: Writer, node: Node, weight: Quantisation | None, outputs: int, repeats: int) -> str:
    given = writer.graph.value(node, 2)
    x = writer.tensor(node.inputs[0]).quantisation
    bias = np.zeros(outputs, np.float32 if weight is None else np.int32) if given is None else given
    steps = None
    if weight is not None and x is not None:
        steps = Quantisation((x.scale * weight.scale).astype(np.float32), weight.zero_point)
    return writer.constant(f"{node.output}:bias", np.tile(bias, repeats), steps)


def _repeated(stored: Quantisation | None, outputs: int, repeats: int) -> Quantisation | None:
    if stored is None:
        return None
    scale = np.tile(np.broadcast_to(stored.scale, outputs), repeats)
    return Quantisation(scale, np.zeros(scale.size, np.int64), 0)


def _shuffle(writer: Writer, node: Node, phases: str, strides: Size, counts: list[int], firsts: list[int]) -> None:
    """Phases to their places, then the part that is asked for."""
    sizes = [count * stride for count, stride in zip(counts, strides, strict=True)]
    whole = _whole(writer, node, sizes)
    if strides == (1, 1):
        writer.alias(whole, phases)
    elif strides[0] == 1:
        writer.reshape(phases, whole)
    else:
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = strides[0]
        writer.op("DEPTH_TO_SPACE", [phases], whole, options)
    begins = zip(_starts(node), firsts, strides, strict=True)
    _cut(writer, node, whole, [start - first * stride for start, first, stride in begins])


def _whole(writer: Writer, node: Node, sizes: Sequence[int]) -> str:
    """What the output is cut from; the output itself where that is all."""
    made = writer.tensor(node.output)
    if tuple(sizes) == made.shape[1:3]:
        return node.output
    shape, signature = ((s[0], *sizes, s[3]) for s in (made.shape, made.signature))
    return writer.like(node.output, f"{node.output}:whole", shape=shape, signature=signature)


def _cut(writer: Writer, node: Node, whole: str, begins: Sequence[int]) -> None:
    if whole != node.output:
        made, shape = writer.tensor(node.output), writer.tensor(whole).shape
        places = [(begin, begin + size, 1) for begin, size in zip(begins, made.shape[1:3], strict=True)]
        strided_slice(writer, whole, node.output, [(0, shape[0], 1), *places, (0, shape[3], 1)])
