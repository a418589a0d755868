"""Models that quantise as they run, or hold integer weights alone, become the float models of these weights."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgekd.distance import sqnr
from edgekd.onnx_import.quantized import holds_integers
from edgekd.onnx_import.run_time_scales import described, in_float_layers
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
STORED = np.random.default_rng(3).integers(-127, 128, (6, 8)).astype(np.int8)
SCALE = np.linspace(0.01, 0.02, 8, dtype=np.float32)


def float_model() -> onnx.ModelProto:
    """Words (N, 5) → a table, a convolution over them, an LSTM, a dense layer: scores (5, N, 3)."""
    nodes = [
        node("Gather", ["table", "x"], ["words"]),
        node("Transpose", ["words"], ["channels"], perm=[0, 2, 1]),
        node("Conv", ["channels", "kernel", "shift"], ["filtered"], pads=[1, 1]),
        node("Transpose", ["filtered"], ["steps"], perm=[2, 0, 1]),
        node("LSTM", ["steps", "W", "R", "B"], ["rows"], hidden_size=6, direction="bidirectional"),
        node("Transpose", ["rows"], ["sides"], perm=[0, 2, 1, 3]),
        node("Reshape", ["sides", "flat"], ["features"]),
        node("MatMul", ["features", "out"], ["y"]),
    ]
    constants = {
        "table": random(20, 8), "kernel": random(8, 8, 3, seed=1) / 4, "shift": random(8, seed=2),
        "W": random(2, 24, 8, seed=3) / 3, "R": random(2, 24, 6, seed=4) / 3, "B": random(2, 48, seed=5) / 3,
        "flat": np.array([0, 0, -1]), "out": random(12, 3, seed=6),
    }  # fmt: skip
    made = model(nodes, constants, ("N", 5), output_rank=3, opset=17)
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return made


def dynamic(folder, **settings) -> onnx.ModelProto:
    onnx.save(float_model(), folder / "float.onnx")
    logging.disable(logging.WARNING)
    quantize_dynamic(folder / "float.onnx", folder / "q.onnx", **settings)
    logging.disable(logging.NOTSET)
    return onnx.load(folder / "q.onnx")


@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnxruntime_quantises_at_run_time_is_the_float_model_of_its_weights(tmp_path, weight_type, per_channel):
    """The layers of the float original come back, a rounding of their weights away; nothing rounds as it runs."""
    made = dynamic(tmp_path, weight_type=weight_type, per_channel=per_channel)
    assert {"ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger"} < set(kinds(made))
    found = in_float_layers(made)
    assert not holds_integers(found)
    onnx.checker.check_model(found, full_check=True)
    words = {"x": np.random.default_rng(0).integers(0, 20, (16, 5))}
    (wanted,), (answer,) = (Reference(each).run(words).values() for each in (float_model(), found))
    assert (sqnr(answer, wanted) or 0) > 30  # eight bits of weights
    (told,) = described(made, found, words)
    assert float(told.split(", ")[-1].split(" dB")[0]) > 25  # eight bits of activations besides


def _packed(values: np.ndarray) -> np.ndarray:
    return (values[..., ::2] | values[..., 1::2] << 4).astype(np.uint8)


LAYERS = {
    "dynamic": (
        node("DynamicQuantizeMatMul", ["x", "w", "s", "", "b"], ["y"], domain="com.microsoft"),
        {"w": STORED, "s": SCALE, "b": random(8)},
        STORED * SCALE,
    ),
    "blocks": (
        node("MatMulNBits", ["x", "w", "s", "z"], ["y"], domain="com.microsoft", K=6, N=8, bits=4, block_size=16),
        {
            "w": _packed(np.pad(STORED.T & 15, ((0, 0), (0, 10))).astype(np.uint8)).reshape(8, 1, 8),
            "s": SCALE,
            "z": np.full(8, 3, np.uint8),
        },
        ((STORED & 15).astype(np.float32) - 3) * SCALE,
    ),
    "weight alone": (
        node("MatMul", ["x", "dequantised"], ["y"]),
        {"w": STORED, "s": SCALE, "z": np.zeros(8, np.int8)},
        STORED * SCALE,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_hold_their_scales_are_products_with_float_weights(name):
    last, constants, weight = LAYERS[name]
    nodes = [*([node("DequantizeLinear", ["w", "s", "z"], ["dequantised"], axis=1)] if "alone" in name else ()), last]
    made = model(nodes, constants, ("N", 6), output_rank=2)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found, rows = in_float_layers(made), random(4, 6, seed=7)
    assert kinds(found) == (["MatMul", "Add"] if "b" in constants else ["MatMul"])
    (answer,) = Reference(found).run({"x": rows}).values()
    np.testing.assert_allclose(answer, rows @ weight + constants.get("b", 0), rtol=1e-5, atol=1e-5)  # float sums


def test_a_fused_product_of_what_is_quantised_for_it_is_one_of_floats():
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "a", "az"]),
        node("MatMulIntegerToFloat", ["q", "w", "a", "s", "az"], ["y"], domain="com.microsoft"),
    ]
    made = model(nodes, {"w": STORED, "s": SCALE}, ("N", 6), output_rank=2)
    found = in_float_layers(made)
    (weight,) = (numpy_helper.to_array(each) for each in found.graph.initializer)
    assert kinds(found) == ["MatMul"]
    np.testing.assert_array_equal(weight, STORED * SCALE)


@pytest.mark.parametrize("kind", ["QAttention", "QEmbedLayerNormalization"])
def test_what_has_no_float_form_stays(kind):
    made = model(
        [node(kind, ["x", "w", "b", "s", "s"], ["y"], domain="com.microsoft")], {"w": STORED, "s": SCALE, "b": SCALE}
    )
    assert kinds(in_float_layers(made)) == [kind]


@pytest.mark.parametrize("order", [("of_x", "s"), ("s", "of_x"), ("of_x", "of_x")])
@pytest.mark.parametrize("at_once", [False, True])
def test_scales_of_a_product_of_integers_may_come_in_any_order(order, at_once):
    """One number is the operand's, one for each column the weight's, which a square weight would take for its rows'."""
    first, second = order
    scaled = [node("Mul", [first, second], ["both"]), node("Mul", ["sums", "both"], ["y"])]
    in_turns = [node("Mul", ["sums", first], ["some"]), node("Mul", ["some", second], ["y"])]
    nodes = [
        node("MatMulInteger", ["x", "w"], ["whole"]),
        node("Cast", ["whole"], ["sums"], to=TensorProto.FLOAT),
        *(scaled if at_once else in_turns),
    ]
    weight, scales = STORED[:, :6], {"of_x": np.float32(0.05), "s": SCALE[:6]}
    made = model(nodes, {"w": weight, **{name: np.asarray(scales[name]) for name in set(order)}}, ("N", 6))
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    found, rows = in_float_layers(made), np.random.default_rng(5).integers(0, 256, (4, 6)).astype(np.uint8)
    assert "MatMul" in kinds(found)
    (answer,) = Reference(found).run({"x": rows}).values()
    np.testing.assert_allclose(answer, rows @ weight.astype(int) * scales[first] * scales[second], rtol=1e-5)
