"""int8 weights and dynamic range: what is stored, what is computed, and what is left alone."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import NothingToGainError
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import find_scheme
from edgekd.quantization.weight_only import dynamic_range, int8_tables, int8_weights
from tests.quantization.onnx_models import kinds, random

WIDTH = 64
LAYERS = ("MatMul", "Gemm", "Gemm, transposed")


def dense(layer: str, bias: bool = True, seed: int = 0, width: int = WIDTH) -> onnx.ModelProto:
    """x (N, width) through one layer with `WIDTH` outputs of very different sizes."""
    weight = random(width, WIDTH, seed=seed) * np.logspace(-2, 1, WIDTH, dtype=np.float32)
    constants = {"w": weight.T.copy() if "transposed" in layer else weight, "b": random(WIDTH, seed=seed + 1)}
    operands = ["x", "w", "b"] if bias and layer != "MatMul" else ["x", "w"]
    attributes = {"transB": 1} if "transposed" in layer else {}
    nodes = [helper.make_node(layer.partition(",")[0], operands, ["y"], name="layer", **attributes)]
    return whole(nodes, constants, TensorProto.FLOAT, ["N", width], 2)


def table(rows: int = 50) -> onnx.ModelProto:
    """Tokens x (N, 3) to rows of a table."""
    values = random(rows, WIDTH) * np.logspace(-2, 1, rows, dtype=np.float32)[:, None]
    return whole(
        [helper.make_node("Gather", ["t", "x"], ["y"], name="g")], {"t": values}, TensorProto.INT64, ["N", 3], 3
    )


def whole(nodes, constants, dtype, shape, rank) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return Reference(model).run({"x": x})["y"]


@pytest.mark.parametrize("layer", LAYERS)
def test_weights_become_integers_with_a_scale_per_output(layer):
    """Half a step of each weight, over WIDTH products of inputs: no output may be further off, however small it is."""
    model, x = dense(layer), random(16, WIDTH, seed=5)
    narrowed = int8_weights(model)
    assert kinds(narrowed) == ["DequantizeLinear", layer.partition(",")[0]]
    weight = next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "w")
    largest = np.abs(weight).max(1 if "transposed" in layer else 0)
    allowed = np.abs(x).sum(1, keepdims=True) * largest / 127 / 2
    assert (np.abs(run(narrowed, x) - run(model, x)) <= allowed * (1 + 1e-4)).all()  # 1e-4: float32 sums


@given(st.sampled_from(LAYERS), st.booleans(), st.integers(0, 99))
def test_dynamic_range_multiplies_integers(layer, bias, seed):
    """Half a step of each weight and of each input: a sample's own range over 255, at a batch of one."""
    model, x = dense(layer, bias, seed), random(1, WIDTH, seed=seed + 50)
    narrowed = dynamic_range(model)
    assert "MatMulInteger" in kinds(narrowed)
    weight = next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "w")
    weight = weight.T if "transposed" in layer else weight
    step_x, step_w = (max(x.max(), 0) - min(x.min(), 0)) / 255, np.abs(weight).max(0) / 127
    allowed = (np.abs(x).sum() * step_w + np.abs(weight).sum(0) * step_x + WIDTH * step_w * step_x) / 2
    assert (np.abs(run(narrowed, x) - run(model, x)) <= allowed * 1.001).all()  # a zero point is rounded, too


def test_an_input_of_several_layers_is_quantised_once():
    model = dense("MatMul")
    second = helper.make_node("MatMul", ["x", "w"], ["z"], name="second")
    model.graph.node.append(second)
    model.graph.node.append(helper.make_node("Add", ["y", "z"], ["sum"], name="sum"))
    model.graph.output[0].name = "sum"
    assert kinds(dynamic_range(model)).count("DynamicQuantizeLinear") == 1


@pytest.mark.parametrize("narrow", [int8_weights, dynamic_range])
def test_a_table_holds_integers_with_a_scale_per_row(narrow):
    """Half a step of the row: 1/254 of its largest value; a row of small values loses no more than its share."""
    model, x = table(), np.arange(48).reshape(16, 3)
    narrowed = narrow(model)
    exact, found = run(model, x), run(narrowed, x)
    assert (np.abs(found - exact) <= np.abs(exact).max(-1, keepdims=True) / 254 * (1 + 1e-4)).all()
    assert len(narrowed.SerializeToString()) < 0.4 * len(model.SerializeToString())


@pytest.mark.parametrize("scheme", ["int8-asymmetric", "int8-symmetric"])
def test_a_quantised_table_is_stored_as_it_is_read(scheme):
    """Bit by bit, saturated values included: rows reach further than the quantiser."""
    model = table()
    model.graph.node[0].output[0] = "rows"
    model.graph.node.append(helper.make_node("Relu", ["rows"], ["y"], name="relu"))
    affine = Affine(0.013, 0 if scheme == "int8-symmetric" else 117)
    quantized = insert_activations(model, {"rows": affine}, find_scheme(scheme))
    narrowed, x = int8_tables(quantized), np.arange(48).reshape(16, 3)
    assert kinds(narrowed) == ["Gather", "DequantizeLinear", "Relu"]
    np.testing.assert_array_equal(run(narrowed, x), run(quantized, x))
    assert len(narrowed.SerializeToString()) < 0.5 * len(quantized.SerializeToString())
    assert int8_tables(plain := table()) is plain  # of a float model nothing is changed


@pytest.mark.parametrize("narrow", [int8_weights, dynamic_range])
def test_what_would_gain_nothing_is_refused_and_the_model_left_alone(narrow):
    model = dense("MatMul", width=8)
    before = model.SerializeToString()
    with pytest.raises(NothingToGainError, match="1024 weights"):
        narrow(model)
    narrow(large := dense("MatMul"))
    assert large.SerializeToString() == dense("MatMul").SerializeToString()
    assert model.SerializeToString() == before


Q, DQ = (helper.make_node(kind, [a, "s", "z"], [b]) for kind, a, b in (
    ("QuantizeLinear", "rows", "q"), ("DequantizeLinear", "q", "y")))  # fmt: skip


def looked_up(*more: onnx.NodeProto, table: np.ndarray | None = None, **values: np.ndarray) -> onnx.ModelProto:
    """Rows of a table, quantised; `more` comes first."""
    known = {"t": random(8, 4) if table is None else table, "s": np.float32(0.5), "z": np.uint8(3)} | values
    nodes = [*more, helper.make_node("Gather", ["t", "x"], ["rows"]), Q, DQ]
    read = {name for node in nodes for name in node.input}
    constants = {name: np.asarray(value) for name, value in known.items() if name in read}
    return whole(nodes, constants, TensorProto.INT64, ["N", 3], 3)


@pytest.mark.parametrize(
    ("model", "stored"),
    [
        (looked_up(), True),
        (looked_up(table=np.arange(32, dtype=np.int32).reshape(8, 4)), False),
        (looked_up(s=np.full(3, 0.5, np.float32), z=np.full(3, 3, np.uint8)), False),
        (looked_up(helper.make_node("Identity", ["c"], ["s"]), c=np.float32(0.5)), False),
        (looked_up(helper.make_node("Identity", ["c"], ["z"]), c=np.uint8(3)), False),
    ],
)
def test_only_float_tables_with_one_constant_scale_are_stored(model: onnx.ModelProto, stored: bool) -> None:
    for constant in [each for node in model.graph.node if node.op_type == "Identity" for each in node.output]:
        kept = [each for each in model.graph.initializer if each.name != constant]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    assert ("QuantizeLinear" not in kinds(int8_tables(model))) == stored


def test_rows_that_something_else_reads_or_that_are_no_table_stay() -> None:
    twice = looked_up()
    twice.graph.node.append(helper.make_node("Abs", ["rows"], ["a"]))
    twice.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [None] * 3))
    assert "QuantizeLinear" in kinds(int8_tables(twice))
    values = {"w": random(4, 3), "s": np.array(0.5, np.float32), "z": np.array(3, np.uint8)}
    product = whole([helper.make_node("MatMul", ["w", "x"], ["rows"]), Q, DQ], values, TensorProto.FLOAT, [3, 2], 2)
    assert "QuantizeLinear" in kinds(int8_tables(product))


@pytest.mark.parametrize("narrow", [int8_weights, dynamic_range])
@pytest.mark.parametrize(
    ("layer", "options"),
    [("Gemm", {"transA": 1}), ("Gemm", {"alpha": 2.0}), ("Gemm", {"beta": 2.0}), ("Gather", {"axis": 1}), ("Add", {})],
)
def test_other_forms_and_operations_are_left_alone(narrow, layer: str, options: dict[str, float]) -> None:
    operands = ["w", "x"] if layer == "Gather" else ["x", "w"]
    nodes = [helper.make_node(layer, operands, ["y"], **options)]
    kind, shape = (TensorProto.INT64, ["N"]) if layer == "Gather" else (TensorProto.FLOAT, [WIDTH, WIDTH])
    with pytest.raises(NothingToGainError):
        narrow(whole(nodes, {"w": random(WIDTH, WIDTH)}, kind, shape, 2))


@pytest.mark.parametrize("narrow", [int8_weights, dynamic_range])
@pytest.mark.parametrize(("shape", "large"), [((32, 32), True), ((31, 33), False), ((2, 32, 32), False)])
def test_matrices_of_1024_weights_are_large(narrow, shape: tuple[int, ...], large: bool) -> None:
    rank = max(2, len(shape))
    model = whole(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": random(*shape)}, TensorProto.FLOAT,
        ["N", shape[-2]], rank,
    )  # fmt: skip
    if large:
        assert len(kinds(narrow(model))) > 1
    else:
        with pytest.raises(NothingToGainError):
            narrow(model)


@pytest.mark.parametrize("narrow", [int8_weights, dynamic_range])
def test_of_several_weights_only_the_large_ones_are_stored(narrow) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    values = {"w": random(WIDTH, WIDTH), "v": random(WIDTH, 2)}
    narrowed = narrow(whole(nodes, values, TensorProto.FLOAT, ["N", WIDTH], 2))
    stored = {each.name: each.data_type for each in narrowed.graph.initializer}
    assert stored["v"] == TensorProto.FLOAT
    assert stored["w_int8"] == TensorProto.INT8
