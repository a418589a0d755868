"""One op at a time, drawn at random: int8 with both sets of kernels and float32, against ONNX Runtime.

Tolerances: one step with TFLite's reference kernels, whose fixed-point scaling may round a tie the other way; two with
XNNPACK; 1e-5 in float32, where only the order of sums differs.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.backends.tflite.harness import build, distance, float_distance
from tests.factories import Net
from tests.properties import few

seeds = st.integers(0, 1000)
channels = st.sampled_from([1, 3, 4, 8])
sizes = st.sampled_from([(5, 5), (6, 7), (8, 8)])


def agrees(net: Net, *tensors: str) -> list[str]:
    """Check a net in every precision and with all kernels, at another batch than it was compiled for; its int8 ops."""
    names = tuple(f"out{i}" for i in range(len(tensors)))
    model = net.model(*tensors, names=names)
    quantised = factories.quantize(model, net.inputs(64))
    x = factories.on_grid(quantised, net.inputs(8, seed=1))
    built = build(quantised)
    assert built.compiled.notes == ()
    expected = factories.reference(quantised, x)
    assert distance(built, expected, x, "reference") <= 1.01
    assert distance(built, expected, x, "xnnpack") <= 2.01
    assert float_distance(model, x) <= 1e-5
    return built.ops


@few(6)
@given(
    seeds, channels, st.sampled_from([1, 4, 6]), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), sizes, st.data()
)
def test_conv(
    seed: int, inputs: int, outputs: int, kernel: int, stride: int, size: tuple[int, int], data: st.DataObject
) -> None:
    """Any padding: what SAME and VALID do not cover is padded beforehand."""
    pads = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    net = Net(seed, (inputs, *size))
    bias = data.draw(st.booleans())
    agrees(net, net.conv("input", inputs, outputs, kernel, bias, strides=[stride, stride], pads=pads))


@few(6)
@given(seeds, st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), st.sampled_from([1, 2]), st.sampled_from([2, 3]))
def test_conv_auto_pad(seed: int, mode: str, stride: int, kernel: int) -> None:
    net = Net(seed, (3, 7, 8))
    weight = net.constant(net.rng.normal(0, 0.3, (4, 3, kernel, kernel)))
    agrees(net, net.op("Conv", "input", weight, auto_pad=mode, strides=[stride, stride], kernel_shape=[kernel, kernel]))


@few(6)
@given(seeds, st.sampled_from([1, 2]), st.sampled_from([1, 2]), sizes)
def test_depthwise_conv(seed: int, multiplier: int, stride: int, size: tuple[int, int]) -> None:
    net = Net(seed, (4, *size))
    y = net.conv("input", 4, 4 * multiplier, strides=[stride, stride], group=4)
    assert "DEPTHWISE_CONV_2D" in agrees(net, net.relu6(y))


def test_conv_clipped_to_one_fuses_its_activation() -> None:
    net = Net(0, (3, 6, 6))
    y = net.op("Clip", net.conv("input", 3, 4), net.constant(-1.0), net.constant(1.0))
    assert agrees(net, y) == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]


@few(6)
@given(seeds, st.sampled_from([1, 4]))
def test_dilated_conv(seed: int, group: int) -> None:
    net = Net(seed, (4, 9, 8))
    agrees(net, net.conv("input", 4, 4, group=group, dilations=[2, 2], pads=[2, 2, 2, 2]))


@few(6)
@given(seeds, st.sampled_from([2, 4]))
def test_grouped_conv(seed: int, group: int) -> None:
    net = Net(seed, (8, 6, 6))
    agrees(net, net.conv("input", 8, 8, group=group))


@few(6)
@given(seeds, st.integers(1, 20), st.integers(1, 12))
def test_gemm(seed: int, inputs: int, outputs: int) -> None:
    net = Net(seed, (inputs,))
    assert "FULLY_CONNECTED" in agrees(net, net.gemm("input", inputs, outputs))


@few(6)
@given(seeds, st.booleans())
def test_gemm_with_untransposed_weights(seed: int, bias: bool) -> None:
    net = Net(seed, (6,))
    biases = [net.constant(net.rng.normal(0, 1, 3))] if bias else []
    agrees(net, net.op("Gemm", "input", net.constant(net.rng.normal(0, 1, (6, 3))), *biases))


@few(6)
@given(seeds, st.sampled_from([(6,), (4, 6), (2, 4, 6)]))
def test_matmul_with_constant_weights(seed: int, shape: tuple[int, ...]) -> None:
    net = Net(seed, shape)
    assert "FULLY_CONNECTED" in agrees(net, net.op("MatMul", "input", net.constant(net.rng.normal(0, 1, (6, 3)))))


@few(6)
@given(seeds)
def test_matmul_of_two_computed_tensors(seed: int) -> None:
    net = Net(seed, (4, 6))
    agrees(net, net.op("MatMul", "input", net.op("Transpose", "input", perm=[0, 2, 1])))


@few(6)
@given(seeds)
def test_relu_after_a_product_of_two_computed_tensors(seed: int) -> None:
    net = Net(seed, (4, 6))
    agrees(net, net.relu(net.op("MatMul", "input", net.op("Transpose", "input", perm=[0, 2, 1]))))


@few(6)
@given(seeds, st.sampled_from(["Add", "Sub", "Mul"]), st.sampled_from([None, "relu", "relu6"]))
def test_arithmetic_of_two_maps(seed: int, kind: str, activation: str | None) -> None:
    """The second operand is exact, so that what is measured is the op's own rounding."""
    net = Net(seed, (3, 6, 5))
    y = net.op(kind, "input", net.op("MaxPool", "input", kernel_shape=[3, 3], pads=[1] * 4))
    ops = agrees(net, getattr(net, activation)(y) if activation else y)
    assert not {"RELU", "RELU6"} & set(ops)


@few(6)
@given(seeds, st.sampled_from(["Add", "Sub", "Mul"]), st.sampled_from([(), (1,), (4, 1, 1), (1, 4, 1, 1), (6, 5)]))
def test_arithmetic_with_a_constant(seed: int, kind: str, shape: tuple[int, ...]) -> None:
    net = Net(seed, (4, 6, 5))
    agrees(net, net.op(kind, "input", net.constant(net.rng.uniform(0.5, 2, shape))))


def test_division_in_float() -> None:
    net = Net(0, (4, 6, 5))
    y = net.op("Div", "input", net.constant(net.rng.uniform(0.5, 2, (4, 1, 1))))
    assert float_distance(net.model(y), net.inputs(8)) <= 1e-5


@few(6)
@given(seeds, st.sampled_from([(0.0, 6.0), (0.0, None)]))
def test_activation_after_a_quantiser(seed: int, bounds: tuple[float, float | None]) -> None:
    """A MaxPool does not fuse it: the activation is an op of its own."""
    net = Net(seed, (3, 6, 6))
    y = net.op("MaxPool", "input", kernel_shape=[2, 2], strides=[2, 2])
    limits = [net.constant(bound) for bound in bounds if bound is not None]
    agrees(net, net.op("Clip", y, *limits))


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.5, 2.0), (None, 1.0), (0.25, None)])
def test_clip_to_any_bounds_in_float(bounds: tuple[float | None, float | None]) -> None:
    net = Net(0, (3, 6, 6))
    limits = ["" if bound is None else net.constant(bound) for bound in bounds]
    assert float_distance(net.model(net.op("Clip", "input", *limits)), net.inputs(8)) == 0


@few(6)
@given(
    seeds,
    sizes,
    st.sampled_from([([2, 2], [2, 2], [0] * 4), ([3, 3], [2, 2], [1] * 4), ([3, 2], [1, 2], [0, 0, 1, 1])]),
)
def test_max_pool(seed: int, size: tuple[int, int], window: tuple[list[int], list[int], list[int]]) -> None:
    kernel, strides, pads = window
    net = Net(seed, (3, *size))
    agrees(net, net.op("MaxPool", "input", kernel_shape=kernel, strides=strides, pads=pads))


@few(6)
@given(
    seeds,
    sizes,
    st.sampled_from([([2, 2], [2, 2], [0] * 4), ([3, 3], [2, 2], [1] * 4), ([3, 2], [1, 1], [0, 0, 1, 1])]),
)
def test_average_pool(seed: int, size: tuple[int, int], window: tuple[list[int], list[int], list[int]]) -> None:
    """In int8 a depthwise convolution: one rounding to the output's own scale."""
    kernel, strides, pads = window
    net = Net(seed, (3, *size))
    options: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads, "count_include_pad": 1}
    agrees(net, net.op("AveragePool", "input", **options))


def test_average_pool_without_its_padding_in_float() -> None:
    """SAME leaves padding out of the count, as ONNX does by default."""
    net = Net(0, (3, 8, 8))
    y = net.op("AveragePool", "input", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    assert float_distance(net.model(y), net.inputs(8)) <= 1e-5


@few(6)
@given(seeds, channels, sizes)
def test_global_average_pool(seed: int, inputs: int, size: tuple[int, int]) -> None:
    net = Net(seed, (inputs, *size))
    assert "MEAN" in agrees(net, net.op("GlobalAveragePool", "input"))


@few(6)
@given(seeds, sizes)
def test_global_max_pool(seed: int, size: tuple[int, int]) -> None:
    net = Net(seed, (4, *size))
    assert "REDUCE_MAX" in agrees(net, net.op("GlobalMaxPool", "input"))


@few(6)
@given(seeds, st.sampled_from([[2, 3], [-1, -2], [1], [2], [3], [1, 2, 3]]), st.sampled_from([0, 1]))
def test_reduce_mean(seed: int, axes: list[int], keepdims: int) -> None:
    net = Net(seed, (4, 6, 5))
    agrees(net, net.op("ReduceMean", "input", net.constant(axes, np.int64), keepdims=keepdims))


@few(6)
@given(seeds, st.sampled_from([(4, 3, 3), (4, 1, 1), (1, 3, 5)]))
def test_flatten(seed: int, shape: tuple[int, ...]) -> None:
    net = Net(seed, shape)
    ops = agrees(net, net.op("Flatten", "input", axis=1))
    assert ("TRANSPOSE" in ops) == (shape == (4, 3, 3))


@few(6)
@given(seeds, st.sampled_from([[-1, 60], [0, -1], [-1, 5, 12], [-1, 5, 4, 3], [0, 12, 5]]))
def test_reshape(seed: int, shape: list[int]) -> None:
    net = Net(seed, (4, 5, 3))
    agrees(net, net.op("Reshape", "input", net.constant(shape, np.int64)))


@few(6)
@given(seeds)
def test_reshape_to_a_map_that_a_conv_reads(seed: int) -> None:
    net = Net(seed, (36,))
    y = net.op("Reshape", "input", net.constant([-1, 4, 3, 3], np.int64))
    agrees(net, net.conv(y, 4, 2))


def test_reshape_to_a_computed_shape() -> None:
    """As exporters write `x.reshape(x.shape[0], -1)`."""
    net = Net(0, (4, 5, 3))
    batch = net.op("Gather", net.op("Shape", "input"), net.constant([0], np.int64))
    y = net.op("Reshape", "input", net.op("Concat", batch, net.constant([-1], np.int64), axis=0))
    model = net.model(y)
    assert build(model, "float").ops == ["TRANSPOSE", "RESHAPE"]
    assert float_distance(model, net.inputs(8)) == 0


def test_weight_shared_by_two_kinds_of_op() -> None:
    net = Net(0, (4,))
    weight = net.constant(net.rng.normal(0, 1, (4, 4)))
    model = net.model(net.op("Add", net.op("MatMul", "input", weight), net.op("Gemm", "input", weight, transB=1)))
    assert float_distance(model, net.inputs(8)) <= 1e-5


@few(6)
@given(seeds)
def test_squeeze_and_unsqueeze(seed: int) -> None:
    net = Net(seed, (4, 5, 3))
    y = net.op("Squeeze", net.op("GlobalAveragePool", "input"), net.constant([3], np.int64))
    agrees(net, net.op("Unsqueeze", y, net.constant([1], np.int64)))


@few(6)
@given(seeds, st.permutations([1, 2, 3]))
def test_transpose(seed: int, order: list[int]) -> None:
    net = Net(seed, (4, 5, 3))
    agrees(net, net.op("Transpose", "input", perm=[0, *order]))


@few(6)
@given(seeds, st.sampled_from([1, 2, 3, -1]))
def test_concat_of_two_scales(seed: int, axis: int) -> None:
    net = Net(seed, (4, 6, 5))
    agrees(net, net.op("Concat", net.conv("input", 4, 4), "input", axis=axis))


@few(6)
@given(seeds, st.sampled_from([(5,), (4, 5)]))
def test_softmax(seed: int, shape: tuple[int, ...]) -> None:
    net = Net(seed, shape)
    agrees(net, net.op("Softmax", "input", axis=-1))


@few(6)
@given(seeds, st.sampled_from([1, 3]))
def test_softmax_of_a_map(seed: int, axis: int) -> None:
    """Over the channels NHWC has them last; over the width a transpose brings it there."""
    net = Net(seed, (4, 6, 5))
    agrees(net, net.op("Softmax", "input", axis=axis))


@few(6)
@given(seeds, st.sampled_from(["Sigmoid", "Tanh"]), st.sampled_from([(5,), (3, 4, 4)]))
def test_sigmoid_and_tanh(seed: int, kind: str, shape: tuple[int, ...]) -> None:
    net = Net(seed, shape)
    agrees(net, net.op(kind, "input"))


@few(6)
@given(seeds, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_pad(seed: int, amounts: list[int]) -> None:
    net = Net(seed, (3, 5, 4))
    agrees(net, net.op("Pad", "input", net.constant([0, *amounts[:3], 0, *amounts[3:]], np.int64)))


def test_pad_of_some_axes_with_a_value_in_float() -> None:
    net = Net(0, (3, 5, 4))
    pads, value, axes = net.constant([1, 2], np.int64), net.constant(0.5), net.constant([2], np.int64)
    model = net.model(net.op("Pad", "input", pads, value, axes))
    assert float_distance(model, net.inputs(8)) == 0


@few(6)
@given(seeds)
def test_identity_and_dropout_vanish(seed: int) -> None:
    net = Net(seed, (3, 5, 4))
    y = net.op("Dropout", net.op("Identity", net.conv("input", 3, 2)))
    assert build(net.model(y), "float").ops == ["CONV_2D"]


@pytest.mark.parametrize("shape", [(3, 5, 4), (6,)])
def test_what_leaves_as_it_came_or_twice_is_copied(shape: tuple[int, ...]) -> None:
    net = Net(0, shape)
    y = net.op("Tanh", "input")
    model = net.model(y, net.op("Identity", y), net.op("Identity", "input"), names=("logits", "again", "given"))
    assert float_distance(model, net.inputs(4)) <= 1e-5
    assert build(model, "float").ops.count("RESHAPE") == 2


def test_clip_without_bounds_vanishes() -> None:
    net = Net(0, (3, 5, 4))
    model = net.model(net.op("Clip", net.conv("input", 3, 2)))
    assert build(model, "float").ops == ["CONV_2D"]
    assert float_distance(model, net.inputs(8)) <= 1e-5


@few(6)
@given(seeds, st.sampled_from(["after a conv", "alone", "after a gemm"]))
def test_batch_norm_folds_or_becomes_arithmetic(seed: int, place: str) -> None:
    net = Net(seed, (4,) if place == "after a gemm" else (4, 6, 5))
    x = {"after a conv": lambda: net.conv("input", 4, 4), "alone": lambda: "input"}.get(
        place, lambda: net.gemm("input", 4, 4)
    )()
    draws = [net.rng.normal(1, 0.3, 4), net.rng.normal(0, 1, 4), net.rng.normal(0, 1, 4), net.rng.uniform(0.5, 2, 4)]
    model = net.model(net.op("BatchNormalization", x, *map(net.constant, draws)))
    ops = {"after a conv": ["CONV_2D"], "after a gemm": ["FULLY_CONNECTED"], "alone": ["DEPTHWISE_CONV_2D"]}
    assert build(model, "float").ops == ops[place]
    assert float_distance(model, net.inputs(8)) <= 1e-5
