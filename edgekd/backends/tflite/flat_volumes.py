"""Pools and resizes of volumes (N, C, D, H, W), which go side by side: planes first, then depth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from edgekd.backends.tflite.known import Known
from edgekd.onnx_graph import Array, Graph, NodeWriter, attribute, label

POOLS = frozenset({"AveragePool", "MaxPool"})
FLATTENED = POOLS | {"Resize"}
VOLUME = 5
PLANES, DEPTH = slice(1, 3), slice(0, 1)
NEUTRAL = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}


def flatten_volumes(graph: Graph, known: Known) -> None:
    """Replace each pool and each resize of a volume by two of maps: all planes as channels, then planes as rows."""
    for node in [node for node in graph.nodes if node.op_type in FLATTENED]:
        before, after = known.signature(node.input[0]), known.signature(node.output[0])
        scales = _scales(node, before, after, known) if before and after and len(before) == VOLUME else None
        if before and after and scales is not None and -1 not in (*before[1:], *after[1:]) and not any(node.output[1:]):
            _flatten(graph, node, before, after, scales)


def _scales(node: NodeProto, before: tuple[int, ...], after: tuple[int, ...], known: Known) -> Array | None:
    """How much each side of a resize grows; of a pool nothing is asked; None where it is computed."""
    if node.op_type in POOLS:
        return np.ones(3, np.float32)
    given = known.values.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    wanted = np.asarray(after[2:]) / before[2:] if given is None or not given.size else given[-3:]
    scales = wanted.astype(np.float32)
    if attribute(node, "mode", b"nearest") != b"nearest":  # which would read other elements
        short = np.floor(before[2:] * scales) < after[2:]
        scales = np.where(short, np.nextafter(scales, np.float32(np.inf)), scales)
    fits = np.array_equal(np.floor(before[2:] * scales), after[2:]) and before[1] == after[1]
    return scales if fits and not any(entry.name == "axes" for entry in node.attribute) else None


def _flatten(graph: Graph, node: NodeProto, before: tuple[int, ...], after: tuple[int, ...], scales: Array) -> None:
    _, channels, depth, height, width = before
    graph.remove(node)
    write = NodeWriter(graph, label(node))
    flat = write("Reshape", node.input[0], np.array([-1, channels * depth, height, width]))
    flat = _on_map(write, node, flat, PLANES, scales)
    rows = write("Reshape", flat, np.array([-1, channels, depth, after[3] * after[4]]))
    rows = _on_map(write, node, rows, DEPTH, scales)
    write("Reshape", rows, np.array([-1, *after[1:]]), into=node.output[0])


def _on_map(write: NodeWriter, node: NodeProto, source: str, sides: slice, scales: Array) -> str:
    """A node over some sides of a volume; depth is a map's height."""
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    attributes = given | {name: _of_sides(name, given[name], sides) for name in NEUTRAL if name in given}
    if node.op_type in POOLS:
        return source if _is_idle(attributes) else write(node.op_type, source, **attributes)
    some = np.ones(2, np.float32)
    some[: len(scales[sides])] = scales[sides]
    return (
        source if (some == 1).all() else write("Resize", source, "", np.array([1, 1, *some], np.float32), **attributes)
    )


def _of_sides(name: str, values: list[int], sides: slice) -> list[int]:
    kept = [values[:3][sides], values[3:][sides]] if name == "pads" else [values[sides]]
    missing = [NEUTRAL[name]] * (2 - len(kept[0]))
    return [value for side in kept for value in (*side, *missing)]


def _is_idle(attributes: Mapping[str, Any]) -> bool:
    return all(value == NEUTRAL[name] for name in NEUTRAL for value in attributes.get(name, ()))
