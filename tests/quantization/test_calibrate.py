import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgekd.backends.reference import Reference, output_steps
from edgekd.errors import BadInputError
from edgekd.quantization.calibrate import Calibration, calibrate
from edgekd.quantization.qdq import METADATA, insert_activations, is_quantized, scheme_of, strip_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.properties import few
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node
ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
both = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
X = random(16, 3, 6, 6, seed=9)


def residual(gamma: float = 1.0, beta: float = 0.5) -> onnx.ModelProto:
    """Conv-BN-Relu, a residual conv, pool, linear."""
    norm = {"gamma": np.full(3, gamma), "beta": np.full(3, beta), "mean": np.zeros(3), "variance": np.ones(3)}
    return model(
        [
            node("Conv", ["x", "stem.weight"], ["a"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a", *norm], ["b"]),
            node("Relu", ["b"], ["c"]),
            node("Conv", ["c", "main.weight", "main.bias"], ["d"], pads=[1, 1, 1, 1]),
            node("Add", ["d", "c"], ["e"]),
            node("Relu", ["e"], ["f"]),
            node("GlobalAveragePool", ["f"], ["g"]),
            node("Flatten", ["g"], ["h"]),
            node("Gemm", ["h", "fc.weight", "fc.bias"], ["y"], transB=1),
        ],
        {
            "stem.weight": random(3, 3, 3, 3),
            "main.weight": random(3, 3, 3, 3, seed=1),
            "main.bias": random(3, seed=2),
            "fc.weight": random(4, 3, seed=3),
            "fc.bias": random(4, seed=4),
            **{name: value.astype(np.float32) for name, value in norm.items()},
        },
        output_rank=2,
    )


def producers(quantized: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: entry for entry in quantized.graph.node for name in entry.output}


@both
def test_the_file_keeps_its_contract(scheme: Scheme) -> None:
    quantized = calibrate(residual(), scheme, [{"x": X}])
    onnx.checker.check_model(quantized, full_check=True)
    values, made = constants(quantized), producers(quantized)
    read = [name for entry in quantized.graph.node for name in entry.input if name in values]
    assert len(read) == len(set(read)) == len(values)  # every constant has one reader
    assert "BatchNormalization" not in kinds(quantized)
    for entry in quantized.graph.node:
        if entry.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            scale, zero_point = values[entry.input[1]], values[entry.input[2]]
            assert scale.dtype == np.float32
            assert (scale > 0).all()
            assert scale.shape == zero_point.shape
        if entry.op_type == "QuantizeLinear":
            assert entry.input[0] not in values
            assert zero_point.dtype == scheme.activation
        if entry.op_type in {"Conv", "Gemm"}:
            weight = made[entry.input[1]]
            assert weight.op_type == "DequantizeLinear"
            assert values[weight.input[0]].dtype == np.int8
            assert values[weight.input[0]].min() >= -127
            assert len(values[weight.input[1]]) == len(values[weight.input[0]])
            is_integer = scheme.bias == "int32"
            assert (made[entry.input[2]].op_type == "DequantizeLinear") if is_integer else (entry.input[2] in values)
    assert {entry.key: entry.value for entry in quantized.metadata_props}[METADATA] == scheme.name
    assert [value.name for value in quantized.graph.output] == ["y"]


@both
def test_the_quantised_model_stays_near_the_float_model(scheme: Scheme) -> None:
    exact = Reference(residual()).run({"x": X})["y"]
    rounded = Reference(calibrate(residual(), scheme, [{"x": X}])).run({"x": X})["y"]
    noise = ((exact - rounded) ** 2).mean() / exact.var()
    assert 10 * np.log10(1 / noise) > 25  # dB; five layers of 8-bit rounding cost about 30


def test_integer_biases_have_the_scale_of_their_products() -> None:
    quantized = calibrate(residual(), ASYMMETRIC, [{"x": X}])
    values, made = constants(quantized), producers(quantized)
    for entry in (entry for entry in quantized.graph.node if entry.op_type in {"Conv", "Gemm"}):
        source, weight, bias = (made[name] for name in entry.input)
        assert values[bias.input[0]].dtype == np.int32
        np.testing.assert_array_equal(values[bias.input[1]], values[source.input[1]] * values[weight.input[1]])


@pytest.mark.parametrize("weights", [("up", "down"), ("down", "up")])
def test_joined_edges_share_the_range_that_covers_both(weights: tuple[str, str]) -> None:
    """One reaches from 0 to 3, the other from −2 to 0: each alone, or the last one, would clip what is joined."""
    joined = model(
        [
            node("Conv", ["x", weights[0]], ["a"]),
            node("Conv", ["x", weights[1]], ["b"]),
            node("Concat", ["a", "b"], ["c"], axis=1),
            node("Conv", ["c", "mix"], ["y"]),
        ],
        {
            "mix": random(1, 2, 1, 1),
            "up": np.full((1, 3, 1, 1), 1, np.float32),
            "down": np.full((1, 3, 1, 1), -2 / 3, np.float32),
        },
    )
    seen = {"x": np.linspace(0, 1, 72, dtype=np.float32).reshape(2, 1, 6, 6).repeat(3, 1)}
    quantized = calibrate(joined, ASYMMETRIC, [seen], how=Calibration("minmax"))
    values = constants(quantized)
    scales = {q.input[0]: values[q.input[1]].item() for q in quantized.graph.node if q.op_type == "QuantizeLinear"}
    assert scales["a"] == scales["b"] == scales["c"] == pytest.approx(5 / 255)


def test_relu_edges_have_the_smallest_zero_point() -> None:
    quantized = calibrate(residual(), ASYMMETRIC, [{"x": X}])
    made = producers(quantized)
    after_relu = [
        entry
        for entry in quantized.graph.node
        if entry.op_type == "QuantizeLinear"
        and made.get(entry.input[0]) is not None
        and made[entry.input[0]].op_type == "Relu"
    ]
    assert len(after_relu) == 2
    assert all(constants(quantized)[entry.input[2]] == 0 for entry in after_relu)


@few(20)
@given(st.sampled_from([0.0, 1e-8, -1e-8, 1e-3, -1e-3, 1.0]), st.floats(-3, 3, width=32))
def test_dead_channels_neither_overflow_nor_vanish(gamma: float, beta: float) -> None:
    quantized = calibrate(residual(gamma, beta), ASYMMETRIC, [{"x": X}])
    values = constants(quantized)
    biases = {name: value for name, value in values.items() if value.dtype == np.int32}
    assert biases
    assert all(np.abs(value.astype(np.int64)).max() <= 2**30 + 2**10 for value in biases.values())  # float32 slack
    exact, rounded = Reference(residual(gamma, beta)).run({"x": X}), Reference(quantized).run({"x": X})
    step = output_steps(quantized)["y"]
    assert step is not None
    # Five roundings in a row; a bias that overflowed would be wrong by hundreds of steps.
    assert np.abs(exact["y"] - rounded["y"]).max() <= max(16 * step, 1e-6)


def test_seven_bit_weights_keep_pairs_of_products_within_int16() -> None:
    quantized = calibrate(residual(), SCHEMES["int8-asymmetric-w7"], [{"x": X}])
    stored = [value for value in constants(quantized).values() if value.dtype == np.int8 and value.ndim > 1]
    assert max(np.abs(value).max() for value in stored) == 63
    assert 2 * 255 * 63 < 2**15


def test_kept_layers_stay_float() -> None:
    quantized = calibrate(residual(), ASYMMETRIC, [{"x": X}], keep_float=["main", "y"])
    values = constants(quantized)
    assert values["main.weight"].dtype == np.float32
    assert values["stem.weight_quantized"].dtype == np.int8
    assert output_steps(quantized) == {"y": None}


def test_ranges_come_from_all_batches() -> None:
    widest = Calibration("minmax")
    one = calibrate(residual(), ASYMMETRIC, [{"x": X}], how=widest)
    two = calibrate(residual(), ASYMMETRIC, [{"x": X}, {"x": 3 * X}], how=widest)
    scale = "input_scale" if "input_scale" in constants(one) else "x_quantized_scale"
    assert constants(two)[scale] == pytest.approx(3 * constants(one)[scale], rel=1e-6)


def test_activations_can_be_taken_out_again() -> None:
    parameters = {"x": Affine(0.5, 3), "y": Affine(0.25, 7)}
    plain = model([node("Relu", ["x"], ["y"])], {})
    stripped, found = strip_activations(insert_activations(plain, parameters, ASYMMETRIC))
    assert kinds(stripped) == ["Relu"]
    assert found == parameters
    assert Reference(stripped).run({"x": X})["y"] == pytest.approx(np.maximum(X, 0))


@both
def test_the_scheme_is_read_from_metadata_or_recognised(scheme: Scheme) -> None:
    quantized = calibrate(residual(), scheme, [{"x": X}])
    assert scheme_of(quantized) is scheme
    del quantized.metadata_props[:]
    looks = (scheme.activation, scheme.symmetric)
    twin = next(other for other in SCHEMES.values() if (other.activation, other.symmetric) == looks)
    assert scheme_of(quantized) is twin
    assert scheme_of(residual()) is None
    assert is_quantized(quantized)
    assert not is_quantized(residual())


def test_signed_activations_with_a_zero_point_are_no_scheme_of_ours() -> None:
    plain = model([node("Relu", ["x"], ["y"])], {})
    assert scheme_of(insert_activations(plain, {"x": Affine(0.5, 3)}, SYMMETRIC)) is None


def test_a_quantised_model_is_refused() -> None:
    with pytest.raises(BadInputError, match="quantised already"):
        calibrate(calibrate(residual(), ASYMMETRIC, [{"x": X}]), SYMMETRIC, [{"x": X}])


def test_no_batches_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one batch"):
        calibrate(residual(), ASYMMETRIC, [])


def test_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(BadInputError, match="not finite at 'x'"):
        calibrate(residual(), ASYMMETRIC, [{"x": np.full_like(X, np.nan)}])


def test_wrong_input_names_are_told() -> None:
    with pytest.raises(BadInputError, match="the model takes x; got z"):
        calibrate(residual(), ASYMMETRIC, [{"z": X}])


def test_foreign_quantisers_that_cannot_go_stay():
    """Weights stored as float + Q + DQ, and one Q with two readers: neither may stop the comparison with float."""
    weight = numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "w")
    scales = numpy_helper.from_array(np.array([0.1, 0.2], np.float32), "ws")
    zeros = numpy_helper.from_array(np.zeros(2, np.int8), "wz")
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["x1"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["x2"]),
        helper.make_node("Add", ["x1", "x2"], ["sum"]),
        helper.make_node("Conv", ["sum", "wd"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "foreign", [value("x", 1, [1, 1, 2, 2])], [value("y", 1, [1, 2, 2, 2])],
        [weight, scales, zeros, scale, zero],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    stripped, found = strip_activations(model)
    assert [node.op_type for node in stripped.graph.node if "Linear" in node.op_type] == [
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    assert found == {"x": Affine(float(np.float32(0.1)), 3)}
