"""Quantisers in a graph: where they go, what they hold, and which come out again."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph
from edgekd.quantization.qdq import (
    channel_axis,
    insert_activations,
    is_quantized,
    quantize_weights,
    rounded_weight,
    scale_of,
    scheme_of,
    step_of,
    strip_activations,
)
from edgekd.quantization.ranges import Affine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node
ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
X = random(2, 3, 6, 6, seed=9)
QUARTERS, EIGHTHS = Affine(0.25, 100), Affine(0.125, 3)


def rounded(x: np.ndarray, affine: Affine) -> np.ndarray:
    stored = np.clip(np.rint(x / affine.scale) + affine.zero_point, 0, 255)
    return (stored - affine.zero_point) * affine.scale


def split() -> onnx.ModelProto:
    """Of three pieces the second leaves the network and is read inside, too."""
    nodes = [node("Split", ["x"], ["a", "y", "c"], axis=1, num_outputs=3), node("Add", ["y", "c"], ["z"])]
    net = model(nodes, {})
    net.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [None] * 4))
    return net


def test_readers_and_outputs_get_rounded_values() -> None:
    net = insert_activations(split(), {"x": QUARTERS, "y": EIGHTHS}, ASYMMETRIC)
    found, x = Reference(net).run({"x": X}), rounded(X, QUARTERS)
    y = rounded(x[:, 1:2], EIGHTHS)
    np.testing.assert_array_equal(found["y"], y)  # powers of two: exact
    np.testing.assert_array_equal(found["z"], y + x[:, 2:])
    assert [value.name for value in net.graph.output] == ["y", "z"]


def test_quantisers_come_out_with_their_parameters() -> None:
    affines = {"x": QUARTERS, "y": EIGHTHS, "c": QUARTERS}
    stripped, found = strip_activations(insert_activations(split(), affines, ASYMMETRIC))
    assert found == affines
    assert not is_quantized(stripped)
    np.testing.assert_array_equal(Reference(stripped).run({"x": X})["z"], X[:, 1:2] + X[:, 2:])


def test_the_limits_of_a_quantiser_can_stay_as_a_clip() -> None:
    net = insert_activations(model([node("Neg", ["x"], ["y"])], {}), {"x": Affine(0.01, 100)}, ASYMMETRIC)
    assert "Clip" not in kinds(strip_activations(net)[0])
    stripped, _ = strip_activations(net, saturating=True)
    assert kinds(stripped) == ["Clip", "Neg"]
    np.testing.assert_allclose(Reference(stripped).run({"x": X})["y"], -np.clip(X, -1.0, 1.55), atol=1e-6)


SCALES = {"s": np.array(0.5, np.float32), "z": np.array(3, np.uint8)}
EACH = {"s": np.full(3, 0.5, np.float32), "z": np.full(3, 3, np.uint8)}
Q, DQ = node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"])


@pytest.mark.parametrize(
    ("nodes", "values", "strips"),
    [
        ((Q, DQ, node("Relu", ["d"], ["y"])), SCALES, True),
        ((Q, DQ, node("Relu", ["d"], ["y"])), {name: value.reshape(1) for name, value in SCALES.items()}, True),
        ((Q, DQ, node("Relu", ["d"], ["y"])), EACH, False),
        (
            (
                node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["d"]),
                node("Relu", ["d"], ["y"]),
            ),
            {"s": EACH["s"]}, False,
        ),
        ((Q, DQ, node("Cast", ["q"], ["c"], to=1), node("Add", ["c", "d"], ["y"])), SCALES, False),
        ((Q, node("Cast", ["q"], ["y"], to=1)), SCALES, False),
        (
            (node("QuantizeLinear", ["w", "s", "z"], ["q"]), DQ, node("Add", ["x", "d"], ["y"])),
            {**SCALES, "w": X}, False,
        ),
    ],
)  # fmt: skip
def test_what_int8_is_read_for_otherwise_stays(
    nodes: tuple[onnx.NodeProto, ...], values: dict[str, np.ndarray], strips: bool
) -> None:
    stripped, found = strip_activations(model(list(nodes), values))
    assert found == ({"x": Affine(0.5, 3)} if strips else {})
    assert is_quantized(stripped) != strips


def test_a_quantised_tensor_that_leaves_the_network_stays() -> None:
    net = model([Q, DQ, node("Relu", ["d"], ["y"])], SCALES)
    net.graph.output.append(helper.make_tensor_value_info("q", onnx.TensorProto.UINT8, [None] * 4))
    assert is_quantized(strip_activations(net)[0])


def test_an_output_behind_one_of_two_readers_names_the_edge() -> None:
    net = model([Q, DQ, node("DequantizeLinear", ["q", "s", "z"], ["y"]), node("Relu", ["d"], ["r"])], SCALES)
    net.graph.output.append(helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [None] * 4))
    net.graph.node.insert(0, node("Neg", ["x"], ["n"]))
    net.graph.node[1].input[0] = "n"
    stripped, found = strip_activations(net)
    assert found == {"y": Affine(0.5, 3)}
    np.testing.assert_array_equal(Reference(stripped).run({"x": X})["r"], np.maximum(-X, 0))


@pytest.mark.parametrize("missing", ["s", "z"])
def test_a_quantiser_needs_constants(missing: str) -> None:
    operands = [name if name != missing else "p" for name in ("s", "z")]
    made = node("Identity", [missing], ["p"])
    nodes = [made, node("QuantizeLinear", ["x", *operands], ["q"]), DQ, node("Relu", ["d"], ["y"])]
    with pytest.raises(BadInputError, match="needs a constant scale and zero point"):
        strip_activations(model(nodes, SCALES))
    bare = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    with pytest.raises(BadInputError, match="needs a constant scale and zero point"):
        strip_activations(model(bare, {"s": SCALES["s"]}))


@pytest.mark.parametrize("scheme", ["htp-w8a8", "htp-w8a16"])
def test_constants_beside_integers_are_integers(scheme: str) -> None:
    """HTP computes a norm in integers if its gain is uint8 and its bias int32 of the scale of the two; a sum, a product
    if both operands are as activations are. Half a step of each constant is what rounding may cost."""
    constants = {"gain": random(6) + 1, "shift": random(6), "scale": random(6)}
    norm = node("LayerNormalization", ["x", "gain", "shift"], ["n"], axis=-1)
    plain = model([norm, node("Mul", ["scale", "n"], ["y"])], constants)
    affines = dict.fromkeys(("x", "n", "y"), Affine(0.5, 3))
    graph = Graph(quantize_weights(insert_activations(plain, affines, SCHEMES[scheme]), SCHEMES[scheme], ()))
    assert graph.opset >= (21 if scheme == "htp-w8a16" else 0)
    kept = {name.removesuffix("_quantized"): value for name, value in graph.constants.items() if "_quantized" in name}
    wide = SCHEMES[scheme].activation
    assert {name: str(kept[name].dtype) for name in constants} == {"gain": "uint8", "shift": "int32", "scale": wide}
    steps = {name: float(graph.constants[f"{name}_scale"]) for name in constants}
    assert steps["shift"] == pytest.approx(0.5 * steps["gain"])
    for name, value in constants.items():
        stored = (kept[name].astype(np.float64) - graph.constants[f"{name}_zero_point"]) * steps[name]
        np.testing.assert_allclose(stored, value, rtol=0, atol=0.5001 * steps[name])


@pytest.mark.parametrize(
    ("kind", "shape", "axis"), [("Conv", (4, 3, 1, 1), 0), ("ConvTranspose", (3, 4, 2, 2), 1), ("MatMul", (6, 4), 1)]
)
def test_a_weight_is_rounded_by_output_channel(kind: str, shape: tuple[int, ...], axis: int) -> None:
    weight, layer = random(*shape), node(kind, ["x", "w"], ["y"], name="layer")
    assert channel_axis(layer, weight) == axis
    expected = np.moveaxis(weight.astype(np.float64), axis, 0).copy()
    for channel in expected:
        scale = float(np.float32(np.abs(channel).max() / 127))
        channel[...] = np.rint(channel / scale) * scale
    found = rounded_weight(layer, weight, ASYMMETRIC)
    np.testing.assert_allclose(np.moveaxis(found, axis, 0), expected, rtol=1e-12)
    net = insert_activations(model([layer], {"w": weight}, output_rank=4), {"x": QUARTERS}, ASYMMETRIC)
    stored = quantize_weights(net, ASYMMETRIC, ["layer"])
    (wide,) = [
        each for each in stored.graph.node if each.op_type == "DequantizeLinear" and each.input[0] == "w_quantized"
    ]
    assert {entry.name: entry.i for entry in wide.attribute} == {"axis": axis}
    float_weights = model([layer], {"w": found.astype(np.float32)}, output_rank=4)
    exact = Reference(float_weights).run({"x": rounded(X, QUARTERS).astype(np.float32)})["y"]
    np.testing.assert_allclose(Reference(stored).run({"x": X})["y"], exact, rtol=1e-4, atol=1e-5)


def convolution(*more: onnx.NodeProto, weight: str = "w", bias: bool = True) -> onnx.ModelProto:
    operands = ["x", weight, *(["b"] if bias else [])]
    values = {"w": random(4, 3, 1, 1), **({"b": random(4, seed=1)} if bias else {})}
    return model([*more, node("Conv", operands, ["y"], name="layer")], values)


@pytest.mark.parametrize("scheme", [ASYMMETRIC, SYMMETRIC], ids=["int32", "float"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_is_integer_where_the_scheme_says_so(scheme, bias: bool) -> None:
    net = insert_activations(convolution(bias=bias), {"x": Affine(0.25, 0)}, scheme)
    stored = quantize_weights(net, scheme, ["layer"])
    found = constants(stored)
    if bias and scheme is ASYMMETRIC:
        assert found["b_quantized"].dtype == np.int32
        scale = found["b_scale"].astype(np.float64)
        np.testing.assert_allclose(scale, 0.25 * found["w_scale"], rtol=1e-6)
        np.testing.assert_array_equal(found["b_quantized"], np.rint(random(4, seed=1).astype(np.float64) / scale))
    elif bias:
        np.testing.assert_array_equal(found["b"], random(4, seed=1))
    weight = found["w_quantized"][..., 0, 0] * found["w_scale"].astype(np.float64)[:, None]
    expected = np.einsum("oi,nihw->nohw", weight, np.clip(np.rint(X / 0.25), *scheme.activation_range) * 0.25)
    expected += random(4, seed=1).reshape(4, 1, 1) if bias else 0.0
    half = found["b_scale"].max() / 2 if "b_scale" in found else 0.0
    np.testing.assert_allclose(Reference(stored).run({"x": X})["y"], expected, rtol=1e-5, atol=1e-5 + half)


def test_a_model_whose_shapes_contradict_each_other_is_refused() -> None:
    net = insert_activations(model([node("Relu", ["x"], ["y"])], {}, output_rank=3), {"x": QUARTERS}, ASYMMETRIC)
    with pytest.raises(onnx.shape_inference.InferenceError, match="rank"):
        quantize_weights(net, ASYMMETRIC, [])


def test_layers_that_are_not_named_or_read_floats_or_compute_their_weight_stay() -> None:
    plain, affines = convolution(), {"x": QUARTERS}
    for net, layers in (
        (insert_activations(plain, affines, ASYMMETRIC), ["other"]),
        (plain, ["layer"]),
        (insert_activations(convolution(node("Abs", ["w"], ["v"]), weight="v"), affines, ASYMMETRIC), ["layer"]),
    ):
        assert all(value.dtype != np.int8 for value in constants(quantize_weights(net, ASYMMETRIC, layers)).values())


def test_a_step_is_the_scale_of_what_makes_an_edge() -> None:
    graph = Graph(model([Q, DQ, node("Relu", ["d"], ["y"])], SCALES))
    assert [scale_of(graph, edge) for edge in ("x", "q", "d", "y")] == [None, 0.5, 0.5, None]
    each = Graph(model([Q, DQ, node("Relu", ["d"], ["y"])], EACH))
    assert scale_of(each, "d") is None


def test_distances_of_sixteen_bits_are_counted_in_those_of_eight() -> None:
    wide = SCALES | {"z": np.array(3, np.uint16)}
    for values, step in ((SCALES, 0.5), (wide, 0.5 * 257)):  # 65535 / 255
        graph = Graph(model([Q, DQ, node("Relu", ["d"], ["y"])], values))
        assert [step_of(graph, edge) for edge in ("x", "q", "d")] == [None, step, step]


@pytest.mark.parametrize("bias", [None, 0.7, 3e9])
def test_a_norms_gain_has_eight_bits_and_its_bias_what_the_input_makes_of_them(bias: float | None) -> None:
    """A bias of more than int32 holds at that scale makes the gain's scale larger."""
    scheme = SCHEMES["htp-w8a16"]
    gain, values = random(6, seed=1), {} if bias is None else {"b": np.linspace(-bias, bias, 6, dtype=np.float32)}
    norm = node("LayerNormalization", ["x", "g", *values], ["y"], name="norm", axis=-1)
    net = insert_activations(model([norm], {"g": gain, **values}), {"x": QUARTERS, "y": QUARTERS}, scheme)
    found = constants(quantize_weights(net, scheme, []))
    scale = float(found["g_scale"])
    restored = (found["g_quantized"].astype(float) - float(found["g_zero_point"])) * scale
    np.testing.assert_allclose(restored, gain, atol=0.51 * scale)
    assert (found["g_quantized"].dtype, scale < 0.1) == (np.uint8, bias != 3e9)
    if bias is not None:
        unit = float(found["b_scale"])
        assert unit == pytest.approx(scale * QUARTERS.scale, rel=1e-6)
        np.testing.assert_allclose(found["b_quantized"].astype(float) * unit, values["b"], atol=0.51 * unit)


@pytest.mark.parametrize("bias", [None, 1e-12])
def test_a_norms_gain_is_stored_as_finely_as_its_own_range_lets(bias: float | None) -> None:
    gain, values = 1e-3 * random(6, seed=1), {} if bias is None else {"b": np.full(6, bias, np.float32)}
    norm = node("LayerNormalization", ["x", "g", *values], ["y"], name="norm", axis=-1)
    net = insert_activations(model([norm], {"g": gain, **values}), {"x": Affine(2.0**-20, 100)}, SCHEMES["htp-w8a8"])
    found = constants(quantize_weights(net, SCHEMES["htp-w8a8"], []))
    assert float(found["g_scale"]) == pytest.approx((gain.max() - gain.min()) / 255, rel=1e-6)


@pytest.mark.parametrize(
    ("nodes", "quantized"),
    [
        ([node("ReduceMean", ["x", "axes"], ["y"], keepdims=1)], "x"),
        ([node("Mul", ["x", "gain"], ["y"])], None),
        ([node("LayerNormalization", ["x", "gain"], ["y"], axis=-1)], None),
        ([node("Abs", ["gain"], ["g"]), node("LayerNormalization", ["x", "g"], ["y"], axis=-1)], "x"),
    ],
    ids=["axes", "a factor of floats", "the gain of a norm of floats", "a computed gain"],
)
def test_what_stands_beside_no_integers_or_is_no_operand_stays(nodes: list[onnx.NodeProto], quantized: str) -> None:
    values = {"axes": np.array([1]), "gain": random(6, seed=1)}
    values = {name: value for name, value in values.items() if any(name in each.input for each in nodes)}
    affines = {quantized: QUARTERS} if quantized else {}
    net = insert_activations(model(nodes, values), affines, SCHEMES["htp-w8a8"])
    stored = quantize_weights(net, SCHEMES["htp-w8a8"], [])
    assert kinds(stored) == kinds(net)
    assert {name: constants(stored)[name].tolist() for name in values} == {
        name: values[name].tolist() for name in values
    }


@pytest.mark.parametrize(
    ("activation", "points", "name"),
    [
        ("uint8", (0, 3), "int8-asymmetric"),
        ("uint8", (0, 0), "int8-asymmetric"),
        ("int8", (0, 0), "int8-symmetric"),
        ("int8", (0, 3), None),
        ("uint16", (0, 3), "htp-w8a16"),
        ("int8", (3, 3), None),
    ],
)
def test_a_scheme_shows_in_its_activations(activation: str, points: tuple[int, int], name: str | None) -> None:
    nodes, values = [], {"s": np.float32(0.5)}
    for index, point in enumerate(points):
        values[f"z{index}"] = np.array(point, activation)
        nodes.append(node("QuantizeLinear", ["x", "s", f"z{index}"], [f"q{index}"]))
        nodes.append(node("DequantizeLinear", [f"q{index}", "s", f"z{index}"], [f"d{index}"]))
    net = model([*nodes, node("Add", ["d0", "d1"], ["y"])], {name: np.asarray(value) for name, value in values.items()})
    assert scheme_of(net) is (SCHEMES[name] if name else None)
    net.metadata_props.append(onnx.StringStringEntryProto(key="edgekd.scheme", value="int8-asymmetric-w7"))
    assert scheme_of(net) is SCHEMES["int8-asymmetric-w7"]
    net.metadata_props[0].value = "unheard-of"
    assert scheme_of(net) is (SCHEMES[name] if name else None)


def test_mixed_or_missing_zero_points_show_no_scheme() -> None:
    bare = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    assert scheme_of(model(bare, {"s": SCALES["s"]})) is None
    one_of_two = [
        *bare[:1],
        node("QuantizeLinear", ["x", "s", "z"], ["r"]),
        node("DequantizeLinear", ["r", "s"], ["y"]),
    ]
    assert scheme_of(model(one_of_two, SCALES)) is None
    assert scheme_of(model([node("Relu", ["x"], ["y"])], {})) is None
