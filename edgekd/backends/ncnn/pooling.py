"""Pools, means, norms, softmax and resizing, in float."""

import numpy as np
from onnx import NodeProto

from edgekd.backends.ncnn.format import Parameter, plain
from edgekd.backends.ncnn.lowering import Lowering
from edgekd.backends.ncnn.moves import moved
from edgekd.backends.ncnn.rules import rule
from edgekd.backends.ncnn.source import Shape, refuse
from edgekd.backends.ncnn.windows import window
from edgekd.onnx_graph import attribute, label

MAX, MEAN, GLOBAL, FLOOR = 0, 1, {4: 1}, 1
REDUCTIONS = {"ReduceSum": 0, "ReduceMean": 3, "ReduceMax": 4, "ReduceMin": 5}


@rule("MaxPool", "AveragePool")
def pool(lowering: Lowering, node: NodeProto) -> None:
    """Pooling of floats (of an int8 blob it makes anything), its sizes rounded down; one axis is a row."""
    source, edge = lowering.source, node.input[0]
    before, after = (source.shape(node, name) for name in (edge, node.output[0]))
    flat = len(before) == 2
    frame = window(node, tuple(attribute(node, "kernel_shape")), before[1:], after[1:])
    if attribute(node, "ceil_mode", 0) or frame.dilations != (1, 1) or len(node.output) > 1:
        refuse(node, "the ncnn backend pools without ceil_mode, dilations and indices")
    top, left, bottom, right = frame.pads
    keys = {1: frame.kernel[1], 11: frame.kernel[0], 2: frame.strides[1], 12: frame.strides[0]}
    keys |= {3: left, 13: top, 14: right, 15: bottom, 5: FLOOR, 6: int(attribute(node, "count_include_pad", 0))}
    average = node.op_type == "AveragePool"
    blob = lowering.real(node)
    if flat:
        blob = lowering.reshaped(blob, before, (before[0], 1, before[1]), f"{edge}:rows")
    blob = lowering.layer("Pooling", [blob], label(node), dict(sorted({0: MEAN if average else MAX, **keys}.items())))
    if flat:
        blob = lowering.reshaped(blob, (after[0], 1, after[1]), after, f"{label(node)}:shape")
    lowering.set(node.output[0], blob, None if average else lowering.value(node, 0).scale)


@rule("GlobalAveragePool", "GlobalMaxPool")
def pool_globally(lowering: Lowering, node: NodeProto) -> None:
    """Pooling of whole maps, which gives a vector."""
    before, after = (lowering.source.shape(node, edge) for edge in (node.input[0], node.output[0]))
    average = node.op_type == "GlobalAveragePool"
    blob = lowering.real(node)
    if len(before) != 3:
        blob = lowering.reshaped(blob, before, (before[0], 1, int(np.prod(before[1:]))), f"{node.input[0]}:rows")
    blob = lowering.layer("Pooling", [blob], label(node), {0: MEAN if average else MAX, **GLOBAL})
    blob = lowering.reshaped(blob, before[:1], after, f"{label(node)}:shape")
    lowering.set(node.output[0], blob, None if average else lowering.value(node, 0).scale)


@rule(*REDUCTIONS)
def reduce(lowering: Lowering, node: NodeProto) -> None:
    """Reduction over some axes."""
    source, edge = lowering.source, node.input[0]
    axes = attribute(node, "axes")
    if axes is None:
        axes = source.integers_at(node, 1)
    if not axes:
        refuse(node, "the ncnn backend reduces axes that are named")
    within = sorted(source.axis(node, edge, int(axis)) for axis in axes)
    kept = tuple(1 if axis in within else size for axis, size in enumerate(source.shape(node, edge)))
    parameters: dict[int, Parameter] = {0: REDUCTIONS[node.op_type], 1: 0, 3: within, 4: 1, 5: 1}
    blob = lowering.layer("Reduction", [lowering.real(node)], label(node), parameters)
    blob = lowering.reshaped(blob, kept, source.shape(node, node.output[0]), f"{label(node)}:shape")
    lowering.set(node.output[0], blob)


@rule("Softmax")
def softmax(lowering: Lowering, node: NodeProto) -> None:
    """Softmax along one axis."""
    axis = lowering.source.axis(node, node.input[0], attribute(node, "axis", -1))
    lowering.set(node.output[0], lowering.layer("Softmax", [lowering.real(node)], label(node), {0: axis, 1: 1}))


@rule("LayerNormalization")
def normalise(lowering: Lowering, node: NodeProto) -> None:
    """LayerNorm of the rows of a matrix, whatever the axes."""
    source, edge = lowering.source, node.input[0]
    shape = source.shape(node, edge)
    first = source.axis(node, edge, attribute(node, "axis", -1))
    width = int(np.prod(shape[first:]))
    gain, shift = source.operand(node, 1), source.operand(node, 2)
    gain = np.ones(width, np.float32) if gain is None else gain
    shift = np.zeros(width, np.float32) if shift is None else shift
    if gain.size != width or shift.size != width:
        refuse(node, "its scale and bias do not cover what it normalises")
    rows: Shape = (int(np.prod(shape[:first])), width)
    blob = lowering.reshaped(lowering.real(node), shape, rows, f"{edge}:rows")
    parameters: dict[int, Parameter] = {0: width, 1: float(attribute(node, "epsilon", 1e-5))}
    blob = lowering.layer("LayerNorm", [blob], label(node), parameters, plain(gain) + plain(shift))
    lowering.set(node.output[0], lowering.reshaped(blob, rows, shape, f"{label(node)}:shape"))


@rule("BatchNormalization")
def normalise_channels(lowering: Lowering, node: NodeProto) -> None:
    """BatchNorm that no layer took in."""
    gain, shift, mean, variance = (np.asarray(lowering.source.operand(node, place)) for place in range(1, 5))
    parameters: dict[int, Parameter] = {0: gain.size, 1: float(attribute(node, "epsilon", 1e-5))}
    content = b"".join(map(plain, (gain, mean, variance, shift)))
    lowering.set(node.output[0], lowering.layer("BatchNorm", [lowering.real(node)], label(node), parameters, content))


@rule("Resize")
def resize(lowering: Lowering, node: NodeProto) -> None:
    """Interp of maps: nearest as floor(i / scale), bilinear by half pixels or by corners."""
    source, edge = lowering.source, node.input[0]
    before, after = (source.shape(node, name) for name in (edge, node.output[0]))
    mode = attribute(node, "mode", b"nearest")
    where = attribute(node, "coordinate_transformation_mode", b"half_pixel")
    if len(before) != 3 or before[0] != after[0] or attribute(node, "antialias", 0):
        refuse(node, "the ncnn backend resizes maps of two axes, without antialias")
    scales = source.operand(node, 2)
    if scales is not None and scales.size and tuple(np.multiply(before[1:], scales[-2:])) != after[1:]:
        refuse(node, "its scales make no whole number of rows and columns")
    if mode == b"nearest" and _by_floor(node, where, before, after):
        blob = lowering.layer("Interp", [lowering.real(node)], label(node), {0: 1, 3: after[1], 4: after[2]})
        moved(lowering, node, blob)
    elif mode == b"linear" and where in (b"half_pixel", b"pytorch_half_pixel", b"align_corners"):
        parameters = {0: 2, 3: after[1], 4: after[2], 6: int(where == b"align_corners")}
        lowering.set(node.output[0], lowering.layer("Interp", [lowering.real(node)], label(node), parameters))
    else:
        refuse(node, f"the ncnn backend has no {mode.decode()} resizing by {where.decode()}")


def _by_floor(node: NodeProto, where: bytes, before: Shape, after: Shape) -> bool:
    """Whether nearest means floor(i / scale): by its words, or, enlarged by a whole number, by half pixels as well."""
    rounding = attribute(node, "nearest_mode", b"round_prefer_floor")
    whole = all(large % small == 0 for small, large in zip(before[1:], after[1:], strict=True))
    return (where, rounding) == (b"asymmetric", b"floor") or (where == b"half_pixel" and whole and rounding != b"ceil")
