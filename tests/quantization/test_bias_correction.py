"""What rounding a layer's weights adds to its mean output, against plain sums; whose bias makes up for it."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.bias_correction import averaged_axes, bias_shifts, corrected_inputs, shift_biases
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node
COARSE = Scheme("coarse", "uint8", symmetric=False, weight_max=3, bias="int32", residual="both")


def error(weight: np.ndarray, axis: int) -> np.ndarray:
    """What rounding to ±3 steps of each output channel's largest weight adds."""
    rounded = np.moveaxis(weight.astype(np.float64), axis, 0).copy()
    for channel in rounded:
        step = np.abs(channel).max() / 3
        channel[...] = np.rint(channel / step) * step
    return np.moveaxis(rounded, 0, axis) - weight


def dense(kind: str, bias: str = "", **options: int) -> onnx.ModelProto:
    """A linear layer of x, (N, 6), or on sequences (N, 5, 6), with four outputs."""
    weight = random(4, 6) if options else random(6, 4)
    values = {"l.weight": weight, **({bias: random(4, seed=1)} if bias else {})}
    if kind == "Gemm":
        nodes = [node("Gemm", ["x", *values], ["y"], name="l", **options)]
        return model(nodes, values, ("N", 6), output_rank=2)
    operands = ["m", bias] if bias else ["m", "m"]
    nodes = [node("MatMul", ["x", "l.weight"], ["m"], name="l"), node("Add", operands, ["y"])]
    return model(nodes, values, ("N", 5, 6), output_rank=3)


def product(net: onnx.ModelProto) -> str:
    """The edge that its layer makes."""
    return net.graph.node[0].output[0]


def test_a_shift_is_the_error_of_the_weights_times_the_mean_of_the_input() -> None:
    mean = random(1, 6, seed=7)
    shifts = bias_shifts(dense("Gemm", transB=1), COARSE, ["y"], {"x": mean})
    e = error(random(4, 6), 0)
    assert shifts["y"] == pytest.approx([sum(e[c, i] * mean[0, i] for i in range(6)) for c in range(4)], rel=1e-4)


def test_a_shift_is_the_mean_over_places_of_maps_and_of_sequences() -> None:
    mean, e = random(1, 5, 6, seed=7), error(random(6, 4), 1)
    shifts = bias_shifts(dense("MatMul", bias="b"), COARSE, ["m"], {"x": mean})
    expected = [sum(mean[0, t, i] * e[i, c] for t in range(5) for i in range(6)) / 5 for c in range(4)]
    assert shifts["m"] == pytest.approx(expected, rel=1e-4)
    maps, weight = random(1, 3, 6, 6, seed=7), random(2, 3, 1, 1)
    conv = model([node("Conv", ["x", "l.weight"], ["y"], strides=[2, 2])], {"l.weight": weight})
    e = error(weight, 0)[:, :, 0, 0]
    expected = [sum(e[c, i] * maps[0, i, ::2, ::2].astype(float).mean() for i in range(3)) for c in range(2)]
    assert bias_shifts(conv, COARSE, ["y"], {"x": maps})["y"] == pytest.approx(expected, rel=1e-4)
    up = model([node("ConvTranspose", ["x", "l.weight"], ["y"], strides=[2, 2])], {"l.weight": random(3, 2, 2, 2)})
    e = error(random(3, 2, 2, 2), 1)
    # Of each input four outputs are made, none of which overlap.
    expected = [sum(e[i, c].sum() * maps[0, i].astype(float).sum() for i in range(3)) / 144 for c in range(2)]
    assert bias_shifts(up, COARSE, ["y"], {"x": maps})["y"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("net", "takes"),
    [
        (dense("Gemm"), True),
        (dense("Gemm", bias="b"), True),
        (dense("MatMul", bias="b"), True),
        (dense("MatMul"), False),
    ],
)
def test_layers_whose_bias_can_change_are_corrected(net: onnx.ModelProto, takes: bool) -> None:
    assert corrected_inputs(net, ["l", "other"]) == ({product(net): "x"} if takes else {})
    assert corrected_inputs(net, ["other"]) == {}
    assert bias_shifts(net, COARSE, ["other"], {}) == {}


PRODUCT = node("MatMul", ["x", "w"], ["m"], name="l")


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        ((4,), [PRODUCT, node("Mul", ["m", "b"], ["y"])]),
        ((1, 4), [PRODUCT, node("Add", ["m", "b"], ["y"])]),
        ((1,), [PRODUCT, node("Add", ["m", "b"], ["y"])]),
        ((4,), [PRODUCT, node("Add", ["m", "b"], ["s"]), node("Add", ["m", "s"], ["y"])]),
        (
            (4,),
            [node("Abs", ["w"], ["v"]), node("MatMul", ["x", "v"], ["m"], name="l"), node("Add", ["m", "b"], ["y"])],
        ),
    ],
)  # fmt: skip
def test_only_a_number_for_each_channel_that_nothing_else_sees_is_a_bias(
    shape: tuple[int, ...], nodes: list[onnx.NodeProto]
) -> None:
    net = model(nodes, {"w": random(6, 4), "b": random(*shape)}, ("N", 5, 6), output_rank=3)
    assert corrected_inputs(net, ["l"]) == {}


@pytest.mark.parametrize("net", [dense("Gemm"), dense("Gemm", bias="b"), dense("MatMul", bias="b")])
def test_a_bias_makes_up_for_the_shift(net: onnx.ModelProto) -> None:
    shift, x = np.arange(4, dtype=np.float64), random(3, *((5, 6) if kinds(net)[0] == "MatMul" else (6,)), seed=9)
    after = shift_biases(net, {product(net): shift})
    found, before = (Reference(each).run({"x": x})["y"] for each in (after, net))
    np.testing.assert_allclose(found, before - shift, rtol=1e-5, atol=1e-5)
    assert all(value.dtype == np.float32 for value in constants(after).values())


def test_the_bias_may_be_the_first_operand_of_its_sum() -> None:
    nodes = [PRODUCT, node("Add", ["b", "m"], ["y"])]
    net = model(nodes, {"w": random(6, 4), "b": random(4)}, ("N", 5, 6), output_rank=3)
    x = random(2, 5, 6, seed=9)
    found = Reference(shift_biases(net, {"m": np.ones(4)})).run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ random(6, 4) + random(4) - 1, rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_called_twice_has_a_shift_for_each_of_its_inputs() -> None:
    calls = [node("Conv", ["x", "l.weight"], ["a"]), node("Conv", ["a", "l.weight"], ["y"])]
    net, e = model(calls, {"l.weight": random(3, 3, 1, 1)}), error(random(3, 3, 1, 1), 0)[:, :, 0, 0]
    assert corrected_inputs(net, ["l"]) == {"a": "x", "y": "a"}
    means = {edge: random(1, 3, 6, 6, seed=seed) for seed, edge in enumerate("xa")}
    shifts = bias_shifts(net, COARSE, ["a", "y"], means)
    for edge, made in ("x", "a"), ("a", "y"):
        assert shifts[made] == pytest.approx(e @ means[edge].astype(float).mean((0, 2, 3)), rel=1e-4)


def test_inputs_are_averaged_over_all_but_channels_or_where_a_convolution_reads_them_over_samples() -> None:
    nodes = [
        node("Conv", ["x", "c.weight"], ["a"]),
        node("Conv", ["a", "d.weight"], ["b"]),
        node("MatMul", ["a", "m.weight"], ["p"]),
        node("Add", ["p", "m.bias"], ["q"]),
        node("MatMul", ["b", "n.weight"], ["r"]),
        node("Add", ["r", "m.bias"], ["s"]),
        node("Concat", ["q", "s"], ["y"], axis=1),
    ]
    values = {"c.weight": random(3, 3, 1, 1), "d.weight": random(3, 3, 1, 1), "m.bias": random(4)}
    net = model(nodes, values | {"m.weight": random(6, 4), "n.weight": random(6, 4)})
    assert averaged_axes(net, ["a", "b", "p", "r"]) == {"x": 1, "a": 1, "b": -1}
    assert averaged_axes(net, ["p"]) == {"a": -1}
    assert averaged_axes(net, []) == {}
