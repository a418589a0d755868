"""Integer operators with factors of one sign: x86 without VNNI saturates sums of products of uint8 and int8."""

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph, inferred

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
    if not any(node.op_type in FACTORS for node in model.graph.node):
        return model
    graph = _typed(model)
    raised = dict[str, str]()  # what stands for an edge or a zero point
    for node in graph.nodes:
        for value, zero_point in _signed(graph, node):
            operands = [*node.input, *[""] * (zero_point + 1 - len(node.input))]
            for place in (value, zero_point):
                operands[place] = _raised(graph, operands[place], raised)
            graph.set_inputs(node, operands)
    return graph.model()


def _typed(model: onnx.ModelProto) -> Graph:
    try:
        return Graph(inferred(model))
    except BadInputError:  # it may run all the same
        return Graph(model)


def _signed(graph: Graph, node: NodeProto) -> list[tuple[int, int]]:
    """The int8 factors of a node that has uint8 ones, too."""
    factors = FACTORS.get(node.op_type, ())
    kinds = {_kind(graph, node, places) for places in factors}
    if TensorProto.UINT8 not in kinds and node.op_type not in MADE_UNSIGNED:
        return []
    return [places for places in factors if _kind(graph, node, places) == TensorProto.INT8]


def _kind(graph: Graph, node: NodeProto, places: tuple[int, int]) -> int | None:
    """A factor's type; its zero point's, where its own is not known."""
    edges = [node.input[place] for place in places if place < len(node.input) and node.input[place]]
    known = [graph.constants[edge] for edge in edges if edge in graph.constants]
    if known:
        return int(onnx.helper.np_dtype_to_tensor_dtype(known[0].dtype))
    return next((kind for edge in edges if (kind := graph.types.get(edge))), None)


def _raised(graph: Graph, edge: str, raised: dict[str, str]) -> str:
    """The edge of the same values in uint8, 128 higher; a zero point that is left out is 0."""
    if edge not in raised:
        constant = graph.constants.get(edge) if edge else np.zeros((), np.int8)
        raised[edge] = _computed(graph, edge) if constant is None else _stored(graph, edge or "zero", constant)
    return raised[edge]


def _stored(graph: Graph, name: str, value: Array) -> str:
    return graph.add_constant(f"{name}_uint8", (value.astype(np.int16) + HALF).astype(np.uint8))


def _computed(graph: Graph, edge: str) -> str:
    wide, higher, narrow = (graph.fresh(f"{edge}_{step}") for step in ("int32", "raised", "uint8"))
    graph.add("Cast", [edge], wide, to=TensorProto.INT32)
    graph.add("Add", [wide, graph.add_constant(f"{edge}_half", np.array(HALF, np.int32))], higher)
    graph.add("Cast", [higher], narrow, to=TensorProto.UINT8)
    return narrow
