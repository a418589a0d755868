"""The rules about layers, on graphs of a few nodes: what each says, of which node, and whether it is fatal."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.backends.tensorrt.layer_rules import RULES
from edgekd.onnx_graph import Graph

node = helper.make_node
SCALE, POINT = np.float32(0.5), np.int8(0)
EACH, POINTS = np.full(4, 0.5, np.float32), np.zeros(4, np.int8)


def said(*nodes: onnx.NodeProto, outputs: str = "y", **constants: object) -> list[tuple[str, str, bool]]:
    """Rule, node and whether it is fatal, of all that the rules about layers find."""
    known = {"s": SCALE, "z": POINT, "w8": np.ones((4, 4, 1, 1), np.int8), "m8": np.ones((4, 4), np.int8)} | constants
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", *outputs.split())]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()]
    net = helper.make_model(helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors))
    return [(finding.rule, finding.node, finding.fatal) for rule in RULES for finding in rule(Graph(net))]


def dequantized(source: str, result: str, scale: str = "s", point: str = "z", **axis: int) -> onnx.NodeProto:
    return node("DequantizeLinear", [source, scale, point], [result], name=f"dq_{result}", **axis)


def rounded(source: str, result: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """An activation through a quantiser."""
    return node("QuantizeLinear", [source, "s", "z"], [f"{result}8"], name=f"q_{result}"), dequantized(
        f"{result}8", result
    )


def layer(kind: str, inputs: str, output: str = "y", **options: int) -> onnx.NodeProto:
    return node(kind, inputs.split(), [output], name="layer", **options)


X, W, M = rounded("x", "xd"), dequantized("w8", "w"), dequantized("m8", "m")


@pytest.mark.parametrize(
    ("kind", "options", "axis", "right"),
    [
        ("Conv", {}, 0, True), ("Conv", {}, -4, True), ("Conv", {}, 1, False), ("Conv", {}, -3, False),
        ("Conv", {}, None, False),
        ("MatMul", {}, 1, True), ("MatMul", {}, -1, True), ("MatMul", {}, None, True), ("MatMul", {}, 0, False),
        ("Gemm", {}, 1, True), ("Gemm", {}, 0, False), ("Gemm", {"transB": 1}, 0, True),
        ("Gemm", {"transB": 1}, 1, False),
        ("Gemm", {"transB": 0}, 1, True),
    ],
)  # fmt: skip
def test_scales_of_weights_run_along_the_outputs(
    kind: str, options: dict[str, int], axis: int | None, right: bool
) -> None:
    stored, axes = ("w8" if kind == "Conv" else "m8"), ({} if axis is None else {"axis": axis})
    nodes = *X, dequantized(stored, "w", "e", "p", **axes), layer(kind, "xd w", **options)
    assert said(*nodes, e=EACH, p=POINTS) == ([] if right else [("weight-axis", "dq_w", True)])
    bare = node("DequantizeLinear", [stored, "e"], ["w"], name="dq_w", **axes)  # whose zero point is nought unsaid
    assert said(*X, bare, layer(kind, "xd w", **options), e=EACH) == ([] if right else [("weight-axis", "dq_w", True)])
    one = *X, dequantized(stored, "w", "e", "p", **axes), layer(kind, "xd w", **options)
    assert said(*one, e=EACH[:1], p=POINTS[:1]) == []


def test_quantisers_of_float_weights_are_looked_at_both_and_blocks_are_refused() -> None:
    pair = (
        node("QuantizeLinear", ["wf", "e", "p"], ["w1"], name="q_w", axis=1),
        dequantized("w1", "w", "e", "p", axis=1),
    )
    found = said(*X, *pair, layer("Conv", "xd w"), e=EACH, p=POINTS, wf=np.ones((4, 4, 1, 1), np.float32))
    assert found == [("weight-axis", "dq_w", True), ("weight-axis", "q_w", True)]
    blocks = {"e": np.ones((4, 2), np.float32), "p": np.zeros((4, 2), np.int8)}
    assert said(*X, dequantized("m8", "w", "e", "p", axis=1), layer("MatMul", "xd w"), **blocks) == [
        ("weight-axis", "dq_w", True)
    ]


BARE, FLOAT = ("input-unquantized", "layer", True), ("float-layer", "layer", False)
CONSTANT = {"w": np.ones((4, 4), np.float32)}


@pytest.mark.parametrize(
    ("nodes", "constants", "found"),
    [
        ((*X, W, layer("Conv", "xd w")), {}, []),
        ((W, layer("Conv", "x w")), {}, [BARE]),
        ((*X, layer("Conv", "xd w")), CONSTANT, [FLOAT]),
        ((layer("Conv", "x w")), CONSTANT, [FLOAT]),
        ((*X, node("Abs", ["x"], ["a"]), layer("Gemm", "xd a")), {}, [BARE]),
        ((*X, node("Abs", ["x"], ["a"]), layer("MatMul", "xd a")), {}, [FLOAT]),
        ((M, node("Abs", ["x"], ["a"]), layer("MatMul", "a m")), {}, [BARE]),
        ((*X, node("Flatten", ["xd"], ["f"]), node("Reshape", ["f", "t"], ["r"]), M, layer("Gemm", "r m")),
            {"t": np.array([0, -1])}, []),
        ((*X, node("Relu", ["xd"], ["r"]), M, layer("Gemm", "r m")), {}, [BARE]),
        ((*X, W, layer("Conv", "xd w b")), {"b": np.zeros(4, np.float32)}, []),
    ],
)  # fmt: skip
def test_a_layer_is_int8_where_both_its_operands_are(
    nodes: tuple[onnx.NodeProto, ...] | onnx.NodeProto, constants: dict[str, np.ndarray], found: list[object]
) -> None:
    assert said(*(nodes if isinstance(nodes, tuple) else (nodes,)), **constants) == found


def test_transposed_convolutions_are_named() -> None:
    assert said(*X, W, layer("ConvTranspose", "xd w")) == [("conv-transpose", "layer", False)]


INT8 = *X, W, layer("Conv", "xd w", "a")
END = rounded("sum", "y")
BOTH, SKIP = ("add-both-quantized", "add", False), ("skip-unquantized", "add", True)


def add(*operands: str) -> onnx.NodeProto:
    return node("Add", list(operands), ["sum"], name="add")


def sums(*nodes: onnx.NodeProto, **constants: object) -> list[tuple[str, str, bool]]:
    return [found for found in said(*nodes, **constants) if found[1] == "add"]


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ((*INT8, add("a", "xd"), *END), []),
        ((*INT8, add("xd", "a"), *END), []),
        ((*INT8, add("xd", "xd"), *END), [BOTH]),
        ((*INT8, add("a", "x"), *END), [SKIP]),
        ((*INT8, add("a", "a"), *END), []),
        ((*INT8, node("Conv", ["xd", "w"], ["b"], name="other"), add("a", "b"), *END), [SKIP]),
        ((*INT8, node("Conv", ["xd", "wf"], ["b"], name="other"), add("a", "b"), *END), []),
        ((*INT8, node("Abs", ["x"], ["b"]), add("xd", "b"), *END), [SKIP]),
        ((*INT8, node("Abs", ["x"], ["b"]), add("x", "b"), *END), []),
        ((*INT8, add("a", "x"), node("Abs", ["sum"], ["y"])), []),
        ((*INT8, add("a", "x"), node("Relu", ["sum"], ["r"]), *rounded("r", "y")), [SKIP]),
        ((*INT8, add("a", "x"), node("Relu", ["sum"], ["r"]), node("Abs", ["r"], ["y"])), []),
        ((*INT8, add("a", "c"), *END), []),
        ((*INT8, dequantized("c8", "c1"), add("x", "c1"), *END), []),
        ((*INT8, node("Add", ["a", "c"], ["b"], name="bias"), add("b", "x"), *END), [SKIP]),
        ((*INT8, node("Add", ["c", "a"], ["b"], name="bias"), add("b", "xd"), *END), []),
        ((*INT8, node("Add", ["a", "xd"], ["b"], name="other"), add("b", "xd"), *END), [SKIP]),
    ],
)  # fmt: skip
def test_of_a_sum_one_operand_is_quantised_and_a_layer_makes_the_other(
    nodes: tuple[onnx.NodeProto, ...], found: list[object]
) -> None:
    constants = {"c": np.ones(4, np.float32), "c8": np.ones(4, np.int8), "wf": np.ones((4, 4, 1, 1), np.float32)}
    assert sums(*nodes, **constants) == found


HALF = np.float16(0.5)


@pytest.mark.parametrize(
    ("weight", "bias", "right"),
    [
        (np.float32, np.float32, True), (np.float16, np.float16, True), (np.float16, np.float32, False),
        (np.float32, np.float16, False), (np.float32, np.int32, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stored", [True, False])
def test_a_bias_has_the_type_of_its_weight(weight: type, bias: type, right: bool, stored: bool) -> None:
    nodes = [dequantized("w8", "w", "e")] if stored else []
    values = {"e": np.asarray(0.5, weight), "b": np.ones(4, bias)} | (
        {} if stored else {"w": np.ones((4, 4, 1, 1), weight)}
    )
    found = [each for each in said(*nodes, layer("Conv", "x w b"), **values) if each[0] == "bias-precision"]
    assert found == ([] if right else [("bias-precision", "layer", True)])


def test_a_computed_weight_or_bias_has_no_type_to_compare() -> None:
    computed = node("Abs", ["x"], ["w"]), layer("Conv", "x w b")
    assert ("bias-precision", "layer", True) not in said(*computed, b=np.ones(4, np.float16))
    computed = node("Abs", ["x"], ["b"]), layer("Conv", "x w b")
    assert ("bias-precision", "layer", True) not in said(*computed, w=np.ones((4, 4, 1, 1), np.float16))
