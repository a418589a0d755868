"""Where a window lies: of convolutions, transposed ones and pools, one or two spatial axes."""

from dataclasses import dataclass

from onnx import NodeProto

from edgekd.backends.ncnn.source import Shape, refuse
from edgekd.onnx_graph import attribute

PAD_KEYS = (14, 4, 16, 15)  # top, left, bottom, right


@dataclass(frozen=True)
class Window:
    """Sizes by (height, width); `pads` are top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def parameters(self) -> dict[int, int]:
        """As Convolution and Deconvolution spell it."""
        pairs = zip(((11, 1), (12, 2), (13, 3)), (self.kernel, self.dilations, self.strides), strict=True)
        keys = {key: size for names, sizes in pairs for key, size in zip(names, sizes, strict=True)}
        return keys | dict(zip(PAD_KEYS, self.pads, strict=True))


def window(node: NodeProto, kernel: Shape, sizes: Shape, made: Shape) -> Window:
    """A node's window; `sizes` are those of its input's spatial axes, `made` of its output's: SAME pads follow."""
    rank = len(kernel)
    if rank not in (1, 2):
        refuse(node, f"{rank} spatial axes: the ncnn backend has one or two")
    strides, dilations = (list(attribute(node, name, [1] * rank)) for name in ("strides", "dilations"))
    pads = list(attribute(node, "pads", [0] * 2 * rank))
    automatic = attribute(node, "auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME"):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max((m - 1) * s + r - n, 0) for m, s, r, n in zip(made, strides, reach, sizes, strict=True)]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = less + more if automatic == "SAME_UPPER" else more + less
    flat = rank == 1
    top_left, bottom_right = pads[:rank], pads[rank:]
    return Window(
        _pair(kernel, flat, 1),
        _pair(strides, flat, 1),
        _pair(dilations, flat, 1),
        (*_pair(top_left, flat, 0), *_pair(bottom_right, flat, 0)),
    )


def _pair(sizes: Shape | list[int], flat: bool, absent: int) -> tuple[int, int]:
    """One axis lies along the width."""
    height, width = (absent, sizes[0]) if flat else sizes
    return int(height), int(width)
