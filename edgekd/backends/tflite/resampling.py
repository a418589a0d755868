"""Ops that change a map's resolution without weights: Resize, DepthToSpace, SpaceToDepth."""

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.maps import on_maps
from edgekd.backends.tflite.padding import Size, map_size
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer

Places = NDArray[np.float64]

KERNELS = {
    b"nearest": ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
    b"linear": ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
}
CONVENTIONS = ((False, False), (False, True), (True, False))  # (align corners, half-pixel centres)
ROUNDINGS: dict[bytes, Callable[[Places], Places]] = {
    b"round_prefer_floor": lambda x: np.ceil(x - 0.5),
    b"round_prefer_ceil": lambda x: np.floor(x + 0.5),
    b"floor": np.floor,
    b"ceil": np.ceil,
}


@rule("Resize", layout=Layout.SPATIAL, keeps_scale=True)
@on_maps
def resize(writer: Writer, node: Node) -> None:
    """In the one of TFLite's conventions that reads the same places of the map as ONNX's does."""
    mode = node.attributes.get("mode", b"nearest")
    if mode not in KERNELS or node.attributes.get("antialias", 0) or node.attributes.get("exclude_outside", 0):
        node.refuse(f"attribute mode={mode.decode()}: TFLite resizes by nearest or linear, without antialiasing")
    before, after = map_size(writer, node.inputs[0]), map_size(writer, node.output)
    scales = _scales(writer.graph, node, before, after)
    sides = list(zip(before, after, scales, strict=True))
    wanted = [_onnx_places(node, *side) for side in sides]
    for align, half in CONVENTIONS:
        found = [_tflite_places(mode, align, half, *side[:2]) for side in sides]
        if all(np.allclose(*pair, rtol=0, atol=1e-4) for pair in zip(wanted, found, strict=True)):
            break
    else:
        convention = node.attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
        node.refuse(f"attribute coordinate_transformation_mode={convention}: no TFLite convention reads these places")
    code, kind = KERNELS[mode]
    options = kind()
    options.alignCorners, options.halfPixelCenters = align, half
    size = writer.constant(f"{node.output}:size", np.asarray(after, np.int32))
    writer.op(code, [node.inputs[0], size], node.output, options)


def _scales(graph: Graph, node: Node, before: Size, after: Size) -> list[float]:
    given = graph.value(node, 2)
    if given is None or not given.size:
        return [made / here for made, here in zip(after, before, strict=True)]
    if (given[:2] != 1).any():
        node.refuse("it resizes batch or channels: TFLite resizes height and width only")
    return [1.0] * (4 - given.size) + [float(scale) for scale in given[2:]]


def _onnx_places(node: Node, here: int, made: int, scale: float) -> Places:
    """Where in the map each element is read (ONNX's Resize)."""
    x = np.arange(made, dtype=np.float64)
    convention = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if convention == b"align_corners":
        places = x * (here - 1) / (made - 1) if made > 1 else x * 0
    elif convention == b"asymmetric":
        places = x / scale
    elif convention in (b"half_pixel", b"pytorch_half_pixel"):
        places = (x + 0.5) / scale - 0.5
        if convention == b"pytorch_half_pixel" and made == 1:
            places = x * 0
    else:
        node.refuse(
            f"attribute coordinate_transformation_mode={convention.decode()} has no TFLite form: use half_pixel"
        )
    if node.attributes.get("mode", b"nearest") == b"nearest":
        places = ROUNDINGS[node.attributes.get("nearest_mode", b"round_prefer_floor")](places)
    return np.clip(places, 0, here - 1)


def _tflite_places(mode: bytes, align: bool, half: bool, here: int, made: int) -> Places:
    """Where in the map each element is read (TFLite's reference kernels)."""
    x = np.arange(made, dtype=np.float64)
    scale = (here - 1) / (made - 1) if align and made > 1 else here / made
    if mode == b"nearest":
        places = (x + 0.5 if half else x) * scale
        places = np.floor(places + 0.5) if align else np.floor(places + 1e-9)
    else:
        places = (x + 0.5) * scale - 0.5 if half else x * scale
    return np.clip(places, 0, here - 1)


@rule("DepthToSpace", layout=Layout.SPATIAL, keeps_scale=True)
def depth_to_space(writer: Writer, node: Node) -> None:
    """TFLite's order of channels is DCR; CRD's are moved there first."""
    block, source = node.attributes["blocksize"], node.inputs[0]
    if node.attributes.get("mode", b"DCR") == b"CRD":
        channels = writer.tensor(source).shape[3]
        order = np.arange(channels, dtype=np.int32).reshape(-1, block * block).T.reshape(-1)
        places = writer.constant(f"{node.output}:order", order)
        options = schema.GatherOptionsT()
        options.axis = 3
        source = writer.step("GATHER", [source, places], f"{node.output}:ordered", options)
    shuffle = schema.DepthToSpaceOptionsT()
    shuffle.blockSize = block
    writer.op("DEPTH_TO_SPACE", [source], node.output, shuffle)


@rule("SpaceToDepth", layout=Layout.SPATIAL, keeps_scale=True)
def space_to_depth(writer: Writer, node: Node) -> None:
    """SPACE_TO_DEPTH."""
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = node.attributes["blocksize"]
    writer.op("SPACE_TO_DEPTH", node.inputs, node.output, options)
