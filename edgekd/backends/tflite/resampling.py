"""Ops that change a map's resolution without weights: Resize, DepthToSpace, SpaceToDepth."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.indexing import gathered
from edgekd.backends.tflite.interpolation import Places, by_matrices, matrix_of, onnx_places
from edgekd.backends.tflite.maps import on_maps
from edgekd.backends.tflite.padding import Size, map_size
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer

KERNELS = {
    b"nearest": ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
    b"linear": ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
}
CONVENTIONS = ((False, False), (False, True), (True, False))  # (align corners, half-pixel centres)


@rule("Resize", layout=Layout.SPATIAL, keeps_scale=True)
@on_maps
def resize(writer: Writer, node: Node) -> None:
    """In the one of TFLite's conventions that reads the same places of the map as ONNX's does.

    Where there is none, nearest gathers the places, the others multiply with a matrix along each side.
    """
    mode = node.attributes.get("mode", b"nearest")
    before, after = map_size(writer, node.inputs[0]), map_size(writer, node.output)
    sides = list(zip(before, after, _scales(writer.graph, node, before, after), strict=True))
    if mode == b"cubic" or node.attributes.get("antialias", 0) or node.attributes.get("exclude_outside", 0):
        return by_matrices(writer, node, [matrix_of(node, *side) for side in sides])
    wanted = [onnx_places(node, *side) for side in sides]
    for align, half in CONVENTIONS:
        found = [_tflite_places(mode, align, half, *side[:2]) for side in sides]
        if all(np.allclose(*pair, rtol=0, atol=1e-4) for pair in zip(wanted, found, strict=True)):
            break
    else:
        if mode == b"nearest":
            rows = gathered(writer, node.inputs[0], f"{node.output}:1", 1, wanted[0].astype(int))
            return writer.alias(node.output, gathered(writer, rows, f"{node.output}:2", 2, wanted[1].astype(int)))
        return by_matrices(writer, node, [matrix_of(node, *side) for side in sides])
    code, kind = KERNELS[mode]
    options = kind()
    options.alignCorners, options.halfPixelCenters = align, half
    size = writer.constant(f"{node.output}:size", np.asarray(after, np.int32))
    return writer.op(code, [node.inputs[0], size], node.output, options)


def _scales(graph: Graph, node: Node, before: Size, after: Size) -> list[float]:
    given = graph.value(node, 2)
    if given is None or not given.size:
        return [made / here for made, here in zip(after, before, strict=True)]
    if (given[:2] != 1).any():
        node.refuse("it resizes batch or channels: TFLite resizes height and width only")
    return [1.0] * (4 - given.size) + [float(scale) for scale in given[2:]]


def _tflite_places(mode: bytes, align: bool, half: bool, here: int, made: int) -> Places:
    """Where in the map each element is read, in float32 as TFLite's kernels: 41 by 82 / 2 is below 1 there."""
    x: Places = np.arange(made, dtype=np.float32)
    scale = np.float32(here - 1) / np.float32(made - 1) if align and made > 1 else np.float32(here) / np.float32(made)
    if mode == b"nearest":
        places = (x + np.float32(0.5) if half else x) * scale
        places = np.floor(places.astype(np.float64) + 0.5) if align else np.floor(places)
    else:
        places = (x + np.float32(0.5)) * scale - np.float32(0.5) if half else x * scale
    return np.asarray(np.clip(places, 0, here - 1), np.float64)


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
