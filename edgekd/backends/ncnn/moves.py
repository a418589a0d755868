"""What moves values without changing them, in float: a tensor on a grid stays on it."""

import numpy as np
from onnx import NodeProto

from edgekd.backends.ncnn.format import Parameter
from edgekd.backends.ncnn.lowering import Lowering
from edgekd.backends.ncnn.rules import rule
from edgekd.backends.ncnn.source import refuse
from edgekd.onnx_graph import attribute, label

AXES = {1: "W", 2: "HW", 3: "CHW", 4: "CDHW"}  # by rank, outermost first
ORDERS = {
    2: "WH HW",
    3: "WHC HWC WCH CWH HCW CHW",
    4: "WHDC HWDC WDHC DWHC HDWC DHWC WHCD HWCD WCHD CWHD HCWD CHWD WDCH DWCH WCDH CWDH DCWH CDWH HDCW DHCW HCDW CHDW "
    "DCHW CDHW",
}  # ncnn's numbers, innermost axis first
PAD_MODES = {b"constant": 0, b"edge": 1, b"reflect": 2}
PAD_KEYS = {1: ((2, 3),), 2: ((0, 1), (2, 3)), 3: ((7, 8), (0, 1), (2, 3))}  # before and after by axis


@rule("Identity", "Dropout")
def keep(lowering: Lowering, node: NodeProto) -> None:
    """The same tensor."""
    lowering.values[node.output[0]] = lowering.value(node, 0)


@rule("Cast")
def cast(lowering: Lowering, node: NodeProto) -> None:
    """From float to float."""
    if attribute(node, "to") != 1:
        refuse(node, "the ncnn backend computes in float alone")
    keep(lowering, node)


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(lowering: Lowering, node: NodeProto) -> None:
    """Reshape, unless the blob's shape is the same."""
    before, after = (lowering.source.shape(node, edge) for edge in (node.input[0], node.output[0]))
    if before == after:
        keep(lowering, node)
    else:
        moved(lowering, node, lowering.reshaped(lowering.real(node), before, after, label(node)))


@rule("Transpose")
def transpose(lowering: Lowering, node: NodeProto) -> None:
    """Permute; where only axes of size one move, Reshape."""
    source, edge = lowering.source, node.input[0]
    before, after = (source.shape(node, name) for name in (edge, node.output[0]))
    full, batch = source.full(edge) or (), source.batch(edge)
    order = [axis for axis in attribute(node, "perm", range(len(full))[::-1]) if axis != batch]
    order = [axis - (batch is not None and axis > batch) for axis in order]
    wide = [axis for axis in order if before[axis] > 1]
    blob = lowering.real(node)
    if wide == sorted(wide):
        moved(lowering, node, lowering.reshaped(blob, before, after, label(node)))
        return
    letters = AXES[len(before)]
    number = ORDERS[len(before)].split().index("".join(letters[axis] for axis in reversed(order)))
    moved(lowering, node, lowering.layer("Permute", [blob], label(node), {0: number}))


@rule("Concat")
def concatenate(lowering: Lowering, node: NodeProto) -> None:
    """Concat of floats: of int8 blobs it is wrong where their channels are packed unlike."""
    axis = lowering.source.axis(node, node.output[0], attribute(node, "axis"))
    blobs = [_part(lowering, node, place) for place in range(len(node.input))]
    moved(lowering, node, lowering.layer("Concat", blobs, label(node), {0: axis}))


def _part(lowering: Lowering, node: NodeProto, place: int) -> str:
    """A blob; of a constant without its batch axis."""
    edge, batch = node.input[place], lowering.source.batch(node.output[0])
    held = None if edge in lowering.values else lowering.source.constant(edge)
    if held is None:
        return lowering.real(node, place)
    shape = tuple(size for axis, size in enumerate(held.shape) if axis != batch) or (1,)
    return lowering.constant(edge, np.asarray(held, np.float32), shape)


@rule("Split")
def split(lowering: Lowering, node: NodeProto) -> None:
    """Slice, ncnn's word for it."""
    source, edge = lowering.source, node.input[0]
    axis = source.axis(node, edge, attribute(node, "axis", 0))
    sizes = [source.shape(node, name)[axis] for name in node.output]
    first = lowering.layer("Slice", [lowering.real(node)], label(node), {0: sizes, 1: axis}, outputs=len(sizes))
    for index, name in enumerate(node.output):
        lowering.set(name, f"{first}:{index}" if index else first, lowering.value(node, 0).scale)


@rule("Slice")
def cut(lowering: Lowering, node: NodeProto) -> None:
    """Crop."""
    shape = lowering.source.full(node.input[0]) or ()
    starts, ends, axes, steps = (lowering.source.integers_at(node, place) for place in range(1, 5))
    if starts is None or ends is None or set(steps or [1]) != {1}:
        refuse(node, "the ncnn backend cuts between two limits, without steps")
    axes = [axis % len(shape) for axis in axes or range(len(starts))]
    limits = {axis: slice(*span).indices(shape[axis])[:2] for axis, *span in zip(axes, starts, ends, strict=True)}
    _crop(lowering, node, {axis: span for axis, span in limits.items() if span != (0, shape[axis])})


@rule("Gather")
def take(lowering: Lowering, node: NodeProto) -> None:
    """Crop, where the indices are one or follow each other."""
    edge = node.input[0]
    if edge not in lowering.values:
        refuse(node, "the ncnn backend has no tables")
    shape, index = lowering.source.full(edge) or (1,), np.asarray(lowering.source.operand(node, 1))
    axis = attribute(node, "axis", 0) % len(shape)
    places = index.reshape(-1) % shape[axis]
    if index.ndim > 1 or (np.diff(places) != 1).any():
        refuse(node, "the ncnn backend takes indices that follow each other")
    _crop(lowering, node, {axis: (int(places[0]), int(places[-1]) + 1)})


def _crop(lowering: Lowering, node: NodeProto, spans: dict[int, tuple[int, int]]) -> None:
    """Keep a span of each of some axes, then the output's shape."""
    source, edge, blob = lowering.source, node.input[0], lowering.real(node)
    within = {source.axis(node, edge, axis): span for axis, span in sorted(spans.items())}
    shape = list(source.shape(node, edge))
    if within:
        starts, ends = ([span[side] for span in within.values()] for side in (0, 1))
        blob = lowering.layer("Crop", [blob], label(node), {9: starts, 10: ends, 11: list(within)})
    for axis, (start, end) in within.items():
        shape[axis] = end - start
    after = source.shape(node, node.output[0])
    moved(lowering, node, lowering.reshaped(blob, tuple(shape), after, f"{label(node)}:shape"))


@rule("Pad")
def pad(lowering: Lowering, node: NodeProto) -> None:
    """Padding of up to three axes, with one number or what lies at the edge."""
    source, edge = lowering.source, node.input[0]
    shape, full = source.shape(node, edge), source.full(edge) or ()
    pads, axes = source.integers_at(node, 1), source.integers_at(node, 3) or list(range(len(full)))
    mode, value = attribute(node, "mode", b"constant"), source.number_at(node, 2) or 0.0
    if pads is None or min(pads) < 0 or mode not in PAD_MODES or len(shape) > len(PAD_KEYS):
        refuse(node, "the ncnn backend pads up to three axes, by constant amounts")
    amounts = {axis % len(full): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    within = {source.axis(node, edge, axis): pair for axis, pair in amounts.items() if any(pair)}
    if mode != b"constant" and len(shape) == 3 and 0 in within:
        refuse(node, "the ncnn backend repeats rows and columns, not channels")
    parameters: dict[int, Parameter] = {4: PAD_MODES[mode], 5: value}
    for axis, pair in within.items():
        parameters.update(zip(PAD_KEYS[len(shape)][axis], pair, strict=True))
    blob = lowering.layer("Padding", [lowering.real(node)], label(node), dict(sorted(parameters.items())))
    lowering.set(node.output[0], blob, lowering.value(node, 0).scale if value == 0 else None)


@rule("DepthToSpace")
def shuffle(lowering: Lowering, node: NodeProto) -> None:
    """PixelShuffle."""
    mode = int(attribute(node, "mode", b"DCR") == b"DCR")
    parameters = {0: int(attribute(node, "blocksize")), 1: mode}
    moved(lowering, node, lowering.layer("PixelShuffle", [lowering.real(node)], label(node), parameters))


def moved(lowering: Lowering, node: NodeProto, blob: str) -> None:
    """The output holds values of the inputs: on their grid, where they share one."""
    values = [lowering.values.get(edge) for edge in node.input if edge in lowering.values]
    scales = {value.scale for value in values if value is not None}
    if node.op_type == "Concat" and len(values) < len(node.input):
        scales.add(None)
    lowering.set(node.output[0], blob, scales.pop() if len(scales) == 1 else None)
