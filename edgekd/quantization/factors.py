"""Integer operators with factors of one sign: x86 without VNNI saturates sums of products of uint8 and int8."""

from collections import ChainMap
from collections.abc import Iterator
from itertools import count

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, constants, inferred

HALF = 128  # from int8 to uint8
# The factors of ONNX's and ONNX Runtime's integer operators, each with its zero point's place. Of those with one,
# the other is made uint8 as the model runs.
FACTORS = {
    "ConvInteger": ((0, 2), (1, 3)),
    "DynamicQuantizeLSTM": ((1, 9), (2, 11)),
    "DynamicQuantizeMatMul": ((1, 3),),
    "MatMulInteger": ((0, 2), (1, 3)),
    "MatMulIntegerToFloat": ((0, 4), (1, 5)),
    "QAttention": ((0, 6), (1, 7)),
    "QGemm": ((0, 2), (3, 5)),
    "QLinearConv": ((0, 2), (3, 5)),
    "QLinearMatMul": ((0, 2), (3, 5)),
}
MADE_UNSIGNED = frozenset({"DynamicQuantizeLSTM", "DynamicQuantizeMatMul"})


def like_signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same values, with int8 factors of uint8 ones as uint8; a model without integer operators as it is."""
    if not any(node.op_type in FACTORS for graph in _graphs(model.graph) for node in graph.node):
        return model
    typed = _typed(model)
    taken = {name for graph in _graphs(typed.graph) for node in graph.node for name in (*node.input, *node.output)}
    _Scope(typed.graph, ChainMap(), ChainMap(), taken).rewrite()
    return typed


def _typed(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inferred(model)
    except BadInputError:  # it may run all the same
        typed = onnx.ModelProto()
        typed.CopyFrom(model)
        return typed


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in _inner(node):
            yield from _graphs(inner)


def _inner(node: NodeProto) -> list[GraphProto]:
    return [graph for entry in node.attribute for graph in ([entry.g] if entry.HasField("g") else entry.graphs)]


class _Scope:
    """A graph that is rewritten in place, and what it sees of those around it; `taken` are all names in the model."""

    def __init__(
        self, graph: GraphProto, known: ChainMap[str, Array], types: ChainMap[str, int], taken: set[str]
    ) -> None:
        self.graph, self.taken = graph, taken
        declared = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
        self.constants = known.new_child(constants(onnx.ModelProto(graph=graph)))
        self.types = types.new_child(declared)
        self.raised = dict[str, str]()  # what stands for an edge or a zero point
        self.nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        """Give every integer operator factors of one sign, those of inner graphs too."""
        for node in self.graph.node:
            for inner in _inner(node):
                _Scope(inner, self.constants, self.types, self.taken).rewrite()
            for value, zero_point in self._signed(node):
                operands = [*node.input, *[""] * (zero_point + 1 - len(node.input))]
                for place in (value, zero_point):
                    operands[place] = self._raised(operands[place])
                node.input[:] = operands
            self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _signed(self, node: NodeProto) -> list[tuple[int, int]]:
        """The int8 factors of a node that has uint8 ones, too."""
        factors = FACTORS.get(node.op_type, ())
        kinds = {self._kind(node, places) for places in factors}
        if TensorProto.UINT8 not in kinds and node.op_type not in MADE_UNSIGNED:
            return []
        return [places for places in factors if self._kind(node, places) == TensorProto.INT8]

    def _kind(self, node: NodeProto, places: tuple[int, int]) -> int | None:
        """A factor's type; its zero point's, where its own is not known."""
        edges = [node.input[place] for place in places if place < len(node.input) and node.input[place]]
        known = [self.constants[edge] for edge in edges if edge in self.constants]
        if known:
            return int(helper.np_dtype_to_tensor_dtype(known[0].dtype))
        return next((kind for edge in edges if (kind := self.types.get(edge))), None)

    def _raised(self, edge: str) -> str:
        """The edge of the same values in uint8, 128 higher; a zero point that is left out is 0."""
        if edge not in self.raised:
            constant = self.constants.get(edge) if edge else np.zeros((), np.int8)
            self.raised[edge] = self._computed(edge) if constant is None else self._stored(edge or "zero", constant)
        return self.raised[edge]

    def _stored(self, name: str, value: Array) -> str:
        return self._constant(f"{name}_uint8", (value.astype(np.int16) + HALF).astype(np.uint8))

    def _computed(self, edge: str) -> str:
        wide, higher, narrow = (self._fresh(f"{edge}_{step}") for step in ("int32", "raised", "uint8"))
        half = self._constant(f"{edge}_half", np.array(HALF, np.int32))
        self.nodes += [
            helper.make_node("Cast", [edge], [wide], to=TensorProto.INT32),
            helper.make_node("Add", [wide, half], [higher]),
            helper.make_node("Cast", [higher], [narrow], to=TensorProto.UINT8),
        ]
        return narrow

    def _constant(self, name: str, value: Array) -> str:
        unique = self._fresh(name)
        self.graph.initializer.append(numpy_helper.from_array(value, unique))
        return unique

    def _fresh(self, name: str) -> str:
        unique = next(one for number in count() if (one := f"{name}_{number}" if number else name) not in self.taken)
        self.taken.add(unique)
        return unique
