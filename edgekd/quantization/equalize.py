"""Cross-layer equalisation (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.1)."""

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, attribute
from edgekd.quantization.fold import set_bias, set_weight

ROUNDS = 2
LARGEST_GAIN = 1e3  # of a channel: a dead one may be scaled at will, and need not be


def equalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equal float model in which the weights around each channel between two layers have the same range (eq. 11).

    Only layers with nothing but a ReLU between them are scaled; `clean` has made the model plain.
    """
    graph = Graph(model)
    pairs = [(first, second) for first in graph.nodes if (second := _partner(graph, first)) is not None]
    for _ in range(ROUNDS):
        for first, second in pairs:
            _balance(graph, first, second)
    return graph.model()


def _partner(graph: Graph, first: NodeProto) -> NodeProto | None:
    """The layer that alone reads another one's channels."""
    if not _is_layer(graph, first):
        return None
    second = graph.only_consumer(first.output[0])
    if second is not None and second.op_type == "Relu":
        second = graph.only_consumer(second.output[0])
    grouped = second is not None and attribute(second, "group", 1) not in {1, len(graph.constants[first.input[1]])}
    return second if second is not None and _is_layer(graph, second) and not grouped else None


def _is_layer(graph: Graph, node: NodeProto) -> bool:
    return node.op_type in {"Conv", "Gemm"} and graph.constant(node, 1) is not None


def _balance(graph: Graph, first: NodeProto, second: NodeProto) -> None:
    before, after = (graph.constants[node.input[1]].astype(np.float64) for node in (first, second))
    depthwise = attribute(second, "group", 1) > 1
    axis = 0 if depthwise else 1
    if len(before) != after.shape[axis]:  # several maps for each channel
        return
    gain = _gains(_largest(before, 0), _largest(after, axis))
    set_weight(graph, first, before / _along(gain, 0, before.ndim))
    if (bias := graph.constant(first, 2)) is not None:
        set_bias(graph, first, bias / gain)
    set_weight(graph, second, after * _along(gain, axis, after.ndim))


def _gains(before: Array, after: Array) -> Array:
    """sqrt(r1 / r2) per channel; 1 for a channel that is dead on either side."""
    alive = (before > 0) & (after > 0)
    ratio = np.where(alive, before, 1.0) / np.where(alive, after, 1.0)
    return np.clip(np.sqrt(ratio), 1 / LARGEST_GAIN, LARGEST_GAIN)


def _largest(weight: Array, axis: int) -> Array:
    largest: Array = np.abs(weight).max(axis=tuple(other for other in range(weight.ndim) if other != axis))
    return largest


def _along(gain: Array, axis: int, rank: int) -> Array:
    return gain.reshape([-1 if other == axis else 1 for other in range(rank)])
