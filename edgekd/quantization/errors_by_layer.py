"""Which layers a quantised model loses its precision in: signal to noise at every quantised edge, worst loss first."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from edgekd.onnx_graph import Array, Graph, attribute
from edgekd.quantization.clean import clean
from edgekd.quantization.fold import layer_name
from edgekd.quantization.reference import Reference

SPOTLESS = 120.0  # dB: more than float32 can tell apart
BATCH = 64


@dataclass(frozen=True)
class LayerError:
    """What quantising everything up to a layer costs at its output.

    Attributes:
        sqnr: signal to quantisation noise there, dB.
        lost: dB below the worst of what the layer reads: the layer's own part.
    """

    layer: str
    kind: str
    edge: str
    sqnr: float
    lost: float

    def __str__(self) -> str:
        return f"{self.kind} {self.layer}: {self.sqnr:.1f} dB, {self.lost:.1f} dB of it lost here"


def layer_errors(
    model: onnx.ModelProto, quantized: onnx.ModelProto, batches: Iterable[dict[str, Array]]
) -> tuple[LayerError, ...]:
    """The layers of a QDQ model beside its float original over `batches`, those that lose most first.

    The original may be the QDQ model itself with float activations; its stored weights are read as floats.
    """
    plain, edges = clean(_with_float_weights(model)), _dequantized(quantized)
    exact, rounded = Reference(plain, list(edges)), Reference(quantized, list(edges.values()))
    signal, noise = dict.fromkeys(edges, 0.0), dict.fromkeys(edges, 0.0)
    for batch in batches:
        for given, made in exact.parts(batch, BATCH):
            ours = rounded.run(given)
            for edge, result in edges.items():
                real = made.pop(edge).astype(np.float64)
                signal[edge] += float(np.sum(real**2))
                noise[edge] += float(np.sum((real - ours.pop(result)) ** 2))
    ratios = {edge: _decibel(signal[edge], noise[edge]) for edge in edges}
    return tuple(sorted(_attributed(Graph(plain), ratios), key=lambda error: -error.lost))


def _with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
            stored, scale = (graph.constants[name].astype(np.float32) for name in node.input[:2])
            zero_point = graph.constant(node, 2)
            axis = attribute(node, "axis", 1)
            along = [-1 if other == axis % stored.ndim else 1 for other in range(stored.ndim)]
            shifted = stored if zero_point is None else stored - _spread(zero_point.astype(np.float32), along)
            name = graph.add_constant(node.input[0].removesuffix("_quantized"), shifted * _spread(scale, along))
            graph.reroute(node.output[0], name)
            graph.remove(node)
    return graph.model()


def _spread(value: Array, along: list[int]) -> Array:
    return value.reshape(along) if value.ndim else value


def _dequantized(quantized: onnx.ModelProto) -> dict[str, str]:
    """Each quantised activation, as the float model calls it, and the tensor that holds its rounded values."""
    graph = Graph(quantized)
    found = {}
    for node in graph.nodes:
        reader = graph.only_consumer(node.output[0]) if node.op_type == "QuantizeLinear" else None
        if reader is not None:
            result = reader.output[0]
            found[result if result in graph.outputs else node.input[0]] = result
    return found


def _decibel(signal: float, noise: float) -> float:
    return min(SPOTLESS, 10 * float(np.log10(signal / noise))) if noise and signal else SPOTLESS


def _attributed(graph: Graph, ratios: dict[str, float]) -> Iterable[LayerError]:
    for edge, ratio in ratios.items():
        maker = graph.producer(edge)
        if maker is not None:
            layer = _kernel(graph, edge, ratios)
            before = min((ratios[source] for source in _sources(graph, edge, ratios)), default=SPOTLESS)
            yield LayerError(layer_name(layer), layer.op_type, edge, ratio, before - ratio)


def _kernel(graph: Graph, edge: str, ratios: dict[str, float]) -> onnx.NodeProto:
    """The first of the nodes that are fused into one between quantised edges."""
    node = graph.producer(edge)
    assert node is not None
    before = next(
        (source for source in node.input if graph.producer(source) is not None and source not in ratios), None
    )
    return node if before is None else _kernel(graph, before, ratios)


def _sources(graph: Graph, edge: str, ratios: dict[str, float]) -> set[str]:
    """The quantised edges that an edge is computed from."""
    waiting, seen = [edge], {edge}
    while waiting:
        node = graph.producer(waiting.pop())
        read = set() if node is None else set(node.input) - seen
        seen |= read
        waiting += read - ratios.keys()
    return (seen - {edge}) & ratios.keys()
