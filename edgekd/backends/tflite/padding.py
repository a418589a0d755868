"""Padding of windows: TFLite knows SAME and VALID; whatever else ONNX asks for is padded beforehand."""

from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.writer import Writer

Size = tuple[int, int]
Pads = tuple[Size, Size]
NO_PADS: Pads = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Window:
    """A sliding window over (height, width)."""

    kernel: Size
    strides: Size
    dilations: Size
    pads: Pads

    @property
    def extent(self) -> Size:
        """What the dilated kernel covers."""
        height, width = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        return height, width

    def is_same(self, size: Size) -> bool:
        """Whether TFLite's SAME pads a map of this size alike."""
        return self.pads == _same_pads(size, self.strides, self.extent)


def read_window(node: Node, size: Size, kernel: tuple[int, ...]) -> Window:
    """A node's window over a map of `size`."""
    height, width = kernel
    window = Window((height, width), _pair(node, "strides"), _pair(node, "dilations"), NO_PADS)
    return replace(window, pads=_pads(node, size, window))


def rounded_up(window: Window, size: Size, result: Size) -> Window:
    """The window with as much padding at the end as a result needs whose size was rounded up."""
    pads = [
        (before, max(after, (made - 1) * stride + extent - here - before))
        for (before, after), made, stride, extent, here in zip(
            window.pads, result, window.strides, window.extent, size, strict=True
        )
    ]
    return replace(window, pads=(pads[0], pads[1]))


def map_size(writer: Writer, name: str) -> Size:
    """Height and width of an NHWC tensor."""
    _, height, width, _ = writer.tensor(name).shape
    return height, width


def pad(writer: Writer, node: Node, window: Window, lowest: bool = False, same: bool = True) -> tuple[str, int]:
    """The node's padded input and TFLite's padding for it.

    VALID and, if `same` allows it, SAME pad by themselves; otherwise zeros (or the lowest value) are put around it.
    """
    x = node.inputs[0]
    if window.pads == NO_PADS:
        return x, int(schema.Padding.VALID)
    if same and window.is_same(map_size(writer, x)):
        return x, int(schema.Padding.SAME)
    padded = grown(writer, f"{node.output}:padded", x, ((0, 0), *window.pads, (0, 0)), lowest)
    return padded, int(schema.Padding.VALID)


def grown(writer: Writer, output: str, x: str, pads: tuple[Size, ...], lowest: bool = False) -> str:
    """Emit PAD (with real zero) or PADV2 (with the lowest value that the type holds) into a new tensor."""
    source = writer.tensor(x)
    larger = {
        field: tuple(size if size < 0 else size + sum(pair) for size, pair in zip(sizes, pads, strict=True))
        for field, sizes in (("shape", source.shape), ("signature", source.signature))
    }
    writer.like(x, output, **larger)
    amounts = writer.constant(f"{output}:amounts", np.asarray(pads, np.int32))
    if lowest:
        value = np.asarray(-128, np.int8) if source.quantisation else np.asarray(np.finfo(np.float32).min, np.float32)
        filler = writer.constant(f"{output}:value", value, source.quantisation)
        writer.op("PADV2", [x, amounts, filler], output, schema.PadV2OptionsT())
    else:
        writer.op("PAD", [x, amounts], output, schema.PadOptionsT())
    return output


def _pair(node: Node, name: str) -> Size:
    first, second = node.attributes.get(name) or (1, 1)
    return first, second


def _pads(node: Node, size: Size, window: Window) -> Pads:
    automatic = node.attributes.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        upper = _same_pads(size, window.strides, window.extent)
        (top, bottom), (left, right) = upper
        return upper if automatic == b"SAME_UPPER" else ((bottom, top), (right, left))
    if automatic == b"VALID":
        return NO_PADS
    top, left, bottom, right = node.attributes.get("pads") or (0, 0, 0, 0)
    return (top, bottom), (left, right)


def _same_pads(size: Size, strides: Size, extent: Size) -> Pads:
    tall, wide = (max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(size, strides, extent, strict=True))
    return (tall // 2, tall - tall // 2), (wide // 2, wide - wide // 2)
