"""What a quantised model still computes in float, and why: nothing stays in float without a word."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto

from edgekd.onnx_graph import Graph, inferred, label
from edgekd.quantization.graph_ir import ACTIVATIONS, ELEMENTWISE, FIXED, PASS_THROUGH, POOLS, WEIGHTED
from edgekd.quantization.onnx_view import whole

INTEGER = WEIGHTED | ELEMENTWISE | POOLS | ACTIVATIONS | FIXED | PASS_THROUGH | {"Concat"}
FUSING = ACTIVATIONS | {"Add"}
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
NAMED = 3
TAIL = "it follows the last layers"


@dataclass(frozen=True)
class FloatLayers:
    """Layers of one kind, or of all kinds behind the last layers, that compute in float for the same reason."""

    kind: str
    reason: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        return f"{self.kind} in float at {', '.join(self.names[:NAMED])}{more}: {self.reason}"


def float_layers(model: onnx.ModelProto) -> tuple[FloatLayers, ...]:
    """The layers of a QDQ model that no integer kernel can take over, in the order of the graph."""
    found: dict[tuple[str, str], list[str]] = {}
    for node, reason in float_nodes(Graph(inferred(model))):
        found.setdefault(("Tail" if reason == TAIL else node.op_type, reason), []).append(label(node))
    return tuple(FloatLayers(kind, reason, tuple(names)) for (kind, reason), names in found.items())


def asked_layers(model: onnx.ModelProto) -> tuple[int, int]:
    """Return how many layers with constant weights a QDQ model asks for in int8, and how many in float."""
    graph = Graph(model)
    layers = [node for node in graph.nodes if node.op_type in WEIGHTED]
    return sum(_is_stored(graph, node) for node in layers), sum(node.input[1] in graph.constants for node in layers)


def float_nodes(graph: Graph) -> Iterator[tuple[NodeProto, str]]:
    """The nodes that compute in float, and why, of a graph that declares its types."""
    return _Reader(graph).read()


class _Reader:
    """Walks the graph; an edge is integer behind a DQ, and so is what fuses into the kernel that reads it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.integer: set[str] = set()
        self.leading = _leading_to_layers(graph)

    def read(self) -> Iterator[tuple[NodeProto, str]]:
        """Each layer that computes in float, and why."""
        for node in self.graph.nodes:
            if node.op_type == "DequantizeLinear":
                self.integer.add(node.output[0])
            elif node.op_type != "QuantizeLinear" and self._is_real(node):
                reason = self._reason(node)
                if reason is not None:
                    yield node, reason
                elif self._ends(node):
                    self.integer.update(node.output)

    def _is_real(self, node: NodeProto) -> bool:
        """Whether it computes with real numbers rather than with sizes, tokens or masks."""
        return any(self.graph.types.get(edge) in FLOATS for edge in node.output)

    def _reason(self, node: NodeProto) -> str | None:
        activations = self._activations(node)
        loose = [edge for edge in activations if edge not in self.integer]
        if node.output[0] not in self.leading and (loose or not self._ends(node)):
            return TAIL
        if not activations:
            return "computed from tokens, masks or constants"
        if node.op_type in WEIGHTED and node.input[1] in self.graph.constants and not loose:
            return "its weight is not quantised"
        if node.op_type == "MatMul" and node.input[1] not in self.integer and node.input[1] in loose:
            return "a product of two activations, where int8 does not pay"
        if loose:
            return f"no quantiser at its input {loose[0]!r}{self._origin(loose[0])}"
        if node.op_type in ELEMENTWISE and not self._is_bias(node) and set(node.input) & set(self.graph.constants):
            return "its constant operand is not quantised"
        if node.op_type not in INTEGER:
            return "between quantisers, but without an integer kernel in most runtimes"
        return None if node.op_type in WEIGHTED or self._ends(node) else "no quantiser at its output"

    def _is_bias(self, node: NodeProto) -> bool:
        """Whether a sum with a constant belongs to the layer before it."""
        makers = [self.graph.producer(edge) for edge in node.input]
        return node.op_type == "Add" and any(maker is not None and maker.op_type in WEIGHTED for maker in makers)

    def _activations(self, node: NodeProto) -> list[str]:
        return [
            edge for edge in node.input if edge not in self.graph.constants and self.graph.types.get(edge) in FLOATS
        ]

    def _origin(self, edge: str) -> str:
        maker = self.graph.producer(edge)
        return f", which {maker.op_type} makes" if maker is not None else ""

    def _ends(self, node: NodeProto) -> bool:
        """Whether all results are quantised, or fuse with what quantises them."""
        read = [edge for edge in node.output if self.graph.consumers(edge) or edge in self.graph.outputs]
        return all(self._ends_at(edge) for edge in read)

    def _ends_at(self, edge: str) -> bool:
        readers = self.graph.consumers(edge)
        fuses = len(readers) == 1 and readers[0].op_type in FUSING
        return edge not in self.graph.outputs and (fuses or all(node.op_type == "QuantizeLinear" for node in readers))


def _leading_to_layers(graph: Graph) -> set[str]:
    """Return what the layers make, and the nodes from which one can be reached, by their first results."""
    found: set[str] = set()
    for node in reversed(list(graph.nodes)):
        readers = [reader for edge in node.output for reader in graph.consumers(edge)]
        if _is_layer(graph, node) or any(reader.output[0] in found for reader in readers):
            found.add(node.output[0])
    return found


def _is_layer(graph: Graph, node: NodeProto) -> bool:
    if node.op_type not in WEIGHTED:
        return False
    weight = graph.constant(node, 1)
    return _is_stored(graph, node) if weight is None else not whole(weight) or len(node.input) > 2


def _is_stored(graph: Graph, node: NodeProto) -> bool:
    """Whether a layer's weight is stored in integers."""
    maker = graph.producer(node.input[1])
    return maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in graph.constants
