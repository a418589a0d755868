"""Padding of windows: TFLite knows SAME and VALID; whatever else ONNX asks for is padded beforehand."""

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.writer import Writer

Pads = tuple[tuple[int, int], tuple[int, int]]
NO_PADS: Pads = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Window:
    """A sliding window over (height, width)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: Pads

    @property
    def extent(self) -> tuple[int, int]:
        """What the dilated kernel covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))  # type: ignore[return-value]

    def is_same(self, size: tuple[int, int]) -> bool:
        """Whether TFLite's SAME pads a map of this size alike."""
        return self.pads == _same_pads(size, self.strides, self.extent)


def read_window(node: Node, size: tuple[int, int], kernel: tuple[int, int]) -> Window:
    """A node's window over a map of `size`; refuses what is not 2-D or rounds its output size up."""
    if len(kernel) != 2:
        node.refuse("attribute kernel_shape: only 2-D windows have a TFLite form")
    if node.attributes.get("ceil_mode", 0):
        node.refuse("attribute ceil_mode=1 has no TFLite form: pad explicitly")
    strides = _pair(node, "strides")
    dilations = _pair(node, "dilations")
    window = Window(kernel, strides, dilations, NO_PADS)
    return Window(kernel, strides, dilations, _pads(node, size, window))


def pad(writer: Writer, node: Node, x: str, window: Window, lowest: bool = False) -> tuple[str, int]:
    """Pad `x` with zeros (or the lowest value) unless SAME or VALID does it; returns the map and TFLite's padding."""
    height, width = writer.tensor(x).shape[1:3]
    if window.pads == NO_PADS:
        return x, int(schema.Padding.VALID)
    if window.is_same((height, width)):
        return x, int(schema.Padding.SAME)
    return pad_map(writer, f"{node.output}:padded", x, ((0, 0), *window.pads, (0, 0)), lowest), int(
        schema.Padding.VALID
    )


def pad_map(writer: Writer, output: str, x: str, pads: tuple[tuple[int, int], ...], lowest: bool = False) -> str:
    """Emit PAD (with real zero) or PADV2 (with the lowest value that the type holds) into a new tensor."""
    source = writer.tensor(x)
    grown = {
        field: tuple(size if size < 0 else size + sum(pair) for size, pair in zip(sizes, pads, strict=True))
        for field, sizes in (("shape", source.shape), ("signature", source.signature))
    }
    writer.like(x, output, **grown)
    amounts = writer.constant(f"{output}:amounts", np.asarray(pads, np.int32))
    if lowest:
        value = np.asarray(-128, np.int8) if source.quantisation else np.asarray(np.finfo(np.float32).min, np.float32)
        filler = writer.constant(f"{output}:value", value, source.quantisation)
        writer.op("PADV2", [x, amounts, filler], output, schema.PadV2OptionsT())
    else:
        writer.op("PAD", [x, amounts], output, schema.PadOptionsT())
    return output


def _pair(node: Node, name: str) -> tuple[int, int]:
    first, second = node.attributes.get(name) or (1, 1)
    return first, second


def _pads(node: Node, size: tuple[int, int], window: Window) -> Pads:
    automatic = node.attributes.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        upper = _same_pads(size, window.strides, window.extent)
        return upper if automatic == b"SAME_UPPER" else tuple(pair[::-1] for pair in upper)  # type: ignore[return-value]
    if automatic == b"VALID":
        return NO_PADS
    top, left, bottom, right = node.attributes.get("pads") or (0, 0, 0, 0)
    return (top, bottom), (left, right)


def _same_pads(size: tuple[int, int], strides: tuple[int, int], extent: tuple[int, int]) -> Pads:
    totals = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(size, strides, extent, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)  # type: ignore[return-value]
