"""Every reason why an op has no TFLite form or no exact int8 kernel, and the nearest case that has one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import edgekd.backends.tflite.convert  # noqa: F401  (registers the rules)
from edgekd.backends.tflite.graph import Graph, Node, Quantisation, Tensor, constant
from edgekd.backends.tflite.rules import RULES
from edgekd.errors import BadInputError
from tests.backends.tflite.harness import build
from tests.backends.tflite.test_forms import integers, weights
from tests.factories import Net

MAPS = (2, 4, 4)


def outer(net: Net) -> str:
    """Every sample by every sample."""
    return net.op("MatMul", "input", net.op("Transpose", "input", perm=[1, 0]))


def expanded_twice(net: Net) -> str:
    batch = net.op("Shape", "input", start=0, end=1)
    return net.op("Expand", weights(net, 4), net.op("Concat", batch, batch, integers(net, 4), axis=0))


def transposed(**options: object) -> Callable[[Net], str]:
    return lambda net: net.op("ConvTranspose", "input", weights(net, 2, 3, 2, 2), **options)


@pytest.mark.parametrize(
    ("shape", "net_of", "reason"),
    [
        ((6,), lambda net: net.op("Gemm", "input", weights(net, 6, 3), weights(net, 3), beta=2.0), "attribute beta=2"),
        ((6,), lambda net: net.op("Gemm", "input", weights(net, 6, 3), alpha=0.5), "attribute alpha=0.5"),
        ((6,), lambda net: net.op("Gemm", "input", weights(net, 6, 3), alpha=1.0, beta=1.0, transA=0), None),
        ((6,), lambda net: net.op("Gemm", "input", weights(net, 6, 3), weights(net, 1, 3)),
            r"input 2 must have shape \(3,\), not \(1, 3\)"),
        ((6,), lambda net: net.op("Gemm", "input", weights(net, 6, 3), weights(net, 3)), None),
        (MAPS, transposed(strides=[1, 2]), None),
        (MAPS, transposed(strides=[2, 1]), "only equal"),
        (MAPS, transposed(strides=[2, 3]), "only equal"),
        (MAPS, transposed(auto_pad="SAME_UPPER"), "auto_pad and output_shape"),
        (MAPS, transposed(output_shape=[5, 5]), "auto_pad and output_shape"),
        (MAPS, transposed(auto_pad="NOTSET"), None),
        ((2, 4, 4, 4), lambda net: net.op("Conv", "input", weights(net, 2, 1, 2, 2, 2), group=2), "neither groups"),
        ((2, 4, 4, 4), lambda net: net.op("Conv", "input", weights(net, 2, 2, 2, 2, 2), auto_pad="SAME_UPPER"),
            "neither groups nor automatic padding"),
        ((2, 4, 4, 4), lambda net: net.op("Conv", "input", weights(net, 2, 2, 2, 2, 2), auto_pad="VALID"), None),
        ((2, 4), lambda net: net.op("Cast", net.op("ArgMax", "input", axis=1, select_last_index=1), to=1),
            "select_last_index=1"),
        ((2, 4), lambda net: net.op("Cast", net.op("ArgMax", "input", axis=1, select_last_index=0), to=1), None),
        (MAPS, lambda net: net.op("Resize", "input", "", net.constant([1.0, 2, 2, 2])), "resizes batch or channels"),
        ((2, 4, 4), lambda net: net.op("Resize", "input", "", net.constant([1.0, 1, 2, 2]),
            coordinate_transformation_mode="tf_crop_and_resize"), "coordinate_transformation_mode=tf_crop_and_resize"),
        ((2, 4), lambda net: net.op("Slice", "input", integers(net, 1), integers(net, 2), integers(net, 0)),
            "slices the batch"),
        ((2, 4), lambda net: net.op("Slice", "input", integers(net, 0), integers(net, 1), integers(net, 0)),
            "slices the batch"),
        ((2, 4), lambda net: net.op("Slice", "input", integers(net, 0), integers(net, 2**62), integers(net, 0)), None),
        ((4,), lambda net: net.op("Unsqueeze", outer(net), integers(net, 2)),
            "more than one dimension of its output follows the batch"),
        ((4,), expanded_twice, "more than one dimension follows the batch: reshape before it"),
        ((2, 4), lambda net: net.op("MaxPool", "input", kernel_shape=[2], dilations=[2]), "dilations"),
        ((2, 4), lambda net: net.op("MaxPool", "input", kernel_shape=[2], dilations=[1]), None),
        ((2, 5, 5), lambda net: net.op("MaxPool", "input", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1],
            ceil_mode=1), None),
        ((2, 6, 6), lambda net: net.op("MaxPool", "input", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1],
            ceil_mode=1), "last window that lies in the padding"),
    ],
)  # fmt: skip
def test_what_tflite_cannot_compute_is_refused(
    shape: tuple[int, ...], net_of: Callable[[Net], str], reason: str | None
) -> None:
    net = Net(0, shape)
    model = net.model(net_of(net))
    if reason is None:
        assert build(model, "float").ops
    else:
        with pytest.raises(BadInputError, match=reason):
            build(model, "float")


def quantised(*scales: float, points: int = 0, axis: int = 0) -> Quantisation:
    return Quantisation(np.array(scales, np.float32), np.full(len(scales), points, np.int64), axis)


def activation(name: str, shape: tuple[int, ...], steps: Quantisation | None = None) -> Tensor:
    return Tensor(name, shape, shape, np.dtype(np.int8), None, steps or quantised(0.5))


X4, Y4 = activation("x", (1, 2, 4, 4)), activation("y", (1, 2, 4, 4))
X2, Y2 = activation("x", (1, 2)), activation("y", (1, 2))
X3 = activation("x", (1, 2, 3, 4, 4))
OTHER = activation("x", (1, 2), quantised(0.25))


def kernel(*shape: int, steps: Quantisation | None = None, dtype: type = np.int8) -> Tensor:
    return constant("w", np.ones(shape, dtype), steps or quantised(0.1))


def added(*scales: float, dtype: type = np.int32) -> Tensor:
    return constant("b", np.ones(len(scales), dtype), quantised(*scales) if scales[0] else None)


def refusal(op: str, *tensors: Tensor, made: Tensor, **attributes: object) -> str | None:
    node = Node(op, "node", [tensor.name for tensor in tensors], made.name, attributes)
    return RULES[op].refuses_int8(node, Graph({each.name: each for each in (*tensors, made)}, [node], [], []))


AXIS, CONSTANT, POINT = "along an axis that is not the output", "not constant int8", "zero point other than 0"
BIAS, PRODUCT = "bias is not int32", "bias scale is not input scale x weight scale"
FLOAT = replace(kernel(2, 2, 1, 1), quantisation=None)


@pytest.mark.parametrize(
    ("op", "tensors", "attributes", "reason"),
    [
        ("Conv", (X4, kernel(2, 2, 1, 1)), {}, None),
        ("Conv", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, 0.2))), {}, None),
        ("Conv", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, 0.2, axis=1))), {}, AXIS),
        ("Conv", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, axis=1))), {}, None),
        ("Conv", (X4, kernel(2, 2, 1, 1, dtype=np.int32)), {}, CONSTANT),
        ("Conv", (X4, replace(kernel(2, 2, 1, 1), data=None)), {}, CONSTANT),
        ("Conv", (X4, FLOAT), {}, CONSTANT),
        ("Conv", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, points=1))), {}, POINT),
        ("Conv", (X4, kernel(2, 2, 1, 1), added(0.05, 0.05)), {}, None),
        ("Conv", (X4, kernel(2, 2, 1, 1), added(0.05, 0.05, dtype=np.int8)), {}, BIAS),
        ("Conv", (X4, kernel(2, 2, 1, 1), added(0.0)), {}, BIAS),
        ("Conv", (X4, kernel(2, 2, 1, 1), added(0.05, 0.06)), {}, PRODUCT),
        ("Conv", (X3, kernel(2, 2, 1, 1, 1)), {}, "no int8 kernel for volumes"),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1)), {}, None),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, 0.2, axis=1))), {}, None),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, 0.2, axis=0))), {}, AXIS),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, 0.2, axis=1))), {"group": 2}, AXIS),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1)), {"group": 2}, None),
        ("ConvTranspose", (X4, kernel(2, 2, 1, 1, steps=quantised(0.1, points=1))), {}, POINT),
        ("Gemm", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=1))), {}, None),
        ("Gemm", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=0))), {}, AXIS),
        ("Gemm", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=0))), {"transB": 1}, None),
        ("Gemm", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=1))), {"transB": 1}, AXIS),
        ("Gemm", (X2, kernel(2, 2, steps=quantised(0.1, axis=0))), {}, None),
        ("MatMul", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=1))), {}, None),
        ("MatMul", (X2, kernel(2, 2, steps=quantised(0.1, 0.2, axis=0))), {"transB": 1}, AXIS),
        ("MatMul", (X2, replace(kernel(2, 2), data=None)), {}, None),
        ("Gemm", (X2, replace(kernel(2, 2), data=None)), {}, CONSTANT),
        ("AveragePool", (X4,), {}, None),
        ("AveragePool", (X4,), {"pads": [0, 0, 0, 0]}, None),
        ("AveragePool", (X4,), {"pads": [0, 1, 0, 0]}, "differ in size"),
        ("AveragePool", (X4,), {"pads": [0, 1, 0, 0], "count_include_pad": 1}, None),
        ("AveragePool", (X4,), {"auto_pad": b"SAME_UPPER"}, "differ in size"),
        ("AveragePool", (X4,), {"ceil_mode": 1, "count_include_pad": 1}, "differ in size"),
        ("Relu", (X4,), {"activation": "RELU"}, None),
        ("Clip", (X4,), {"activation": "RELU6"}, None),
        ("Clip", (X4,), {"activation": "RELU_N1_TO_1"}, "no int8 kernel for its bounds"),
        ("Clip", (X4,), {}, "no int8 kernel for its bounds"),
        ("Max", (X4, replace(X4, name="b")), {}, None),
        ("Max", (X2, replace(OTHER, name="b")), {}, "different scales"),
        ("Pad", (X4, constant("p", np.zeros(8, np.int64))), {}, None),
        ("Pad", (X4, constant("p", np.zeros(8, np.int64)), constant("v", np.float32(1))), {}, "value other than 0"),
        ("Pad", (X4, constant("p", np.zeros(8, np.int64)), constant("v", np.float32(0))), {}, None),
        ("Exp", (X4,), {}, "TFLite has no int8 Exp"),
        ("Add", (X4, replace(X4, name="b")), {}, None),
        ("Add", (X4, replace(X4, name="b", dtype=np.dtype(np.int32))), {}, "'b' is not int8 with one scale"),
        ("Add", (X4, kernel(2, 1, 1, steps=quantised(0.1, 0.2))), {}, "'w' is not int8 with one scale"),
    ],
)  # fmt: skip
def test_an_int8_kernel_is_used_only_where_it_is_exact(
    op: str, tensors: tuple[Tensor, ...], attributes: dict[str, object], reason: str | None
) -> None:
    made = Y2 if tensors[0].rank == 2 else Y4
    found = refusal(op, *tensors, made=made, **attributes)
    assert found is None if reason is None else reason in (found or "")


@pytest.mark.parametrize(
    ("op", "scale", "point"),
    [("Sigmoid", 1 / 256, -128), ("Tanh", 1 / 128, 0), ("Softmax", 1 / 256, -128), ("LogSoftmax", 1 / 16, 127)],
)
def test_some_kernels_have_one_output_scale(op: str, scale: float, point: int) -> None:
    for steps, exact in (
        (quantised(scale, points=point), True), (quantised(scale, points=point + 1), False),
        (quantised(scale * 1.5, points=point), False),
    ):  # fmt: skip
        assert (refusal(op, X4, made=replace(Y4, quantisation=steps)) is None) == exact


def test_a_hard_sigmoid_is_exact_on_maps_that_begin_at_the_smallest_integer() -> None:
    right = replace(Y4, quantisation=quantised(0.1, points=-128))
    assert refusal("HardSigmoid", X4, made=right) is None
    assert "zero point of -128" in str(refusal("HardSigmoid", X4, made=Y4))
    assert "zero point of -128" in str(refusal("HardSigmoid", X4, made=replace(Y4, quantisation=None)))
    assert "on maps only" in str(refusal("HardSigmoid", X2, made=replace(Y2, quantisation=right.quantisation)))


def test_quantisations_are_equal_where_they_mean_the_same() -> None:
    assert quantised(0.5) == quantised(0.5, axis=1)  # one scale runs along no axis
    assert quantised(0.5, 0.25) != quantised(0.5, 0.25, axis=1)
    assert quantised(0.5, 0.25) == quantised(0.5, 0.25)
    assert quantised(0.5) != quantised(0.25)
    assert quantised(0.5) != quantised(0.5, points=1)
    assert quantised(0.5) != "another thing"


def test_integers_stand_for_reals_along_their_axis() -> None:
    stored = np.arange(6, dtype=np.int8).reshape(2, 3)
    np.testing.assert_array_equal(quantised(0.5, points=2).dequantise(stored), (stored - 2.0) * 0.5)
    each = Quantisation(np.array([1, 2, 4], np.float32), np.array([0, 1, -1]), 1).dequantise(stored)
    np.testing.assert_array_equal(each, [[0, 0, 12], [3, 6, 24]])
    rows = Quantisation(np.array([1, 2], np.float32), np.array([0, 3]), 0).dequantise(stored)
    np.testing.assert_array_equal(rows, [[0, 1, 2], [0, 2, 4]])
    assert each.dtype == np.float32


def test_an_axis_is_where_it_is_stored() -> None:
    plain, mapped = Node("Op", "n", [], "y"), Node("Op", "n", [], "y", {"perm": (1, 0)}, (0, 2, 3, 1))
    assert [plain.axis(axis, 4) for axis in (0, 1, -1)] == [0, 1, 3]
    assert [mapped.axis(axis, 4) for axis in (0, 1, 2, -1)] == [0, 3, 1, 2]
    assert (plain.permutation(3), mapped.permutation(2)) == ((2, 1, 0), (1, 0))


def test_what_no_output_needs_goes_and_readers_are_listed_by_operand() -> None:
    first, unused, last = Node("A", "a", ["x"], "a"), Node("B", "b", ["x"], "b"), Node("C", "c", ["a", "a"], "y")
    graph = Graph({}, [first, unused, last], ["x"], ["y"])
    assert graph.consumers()["a"] == [last, last]
    assert graph.producers() == {"a": first, "b": unused, "y": last}
    graph.prune()
    assert graph.nodes == [first, last]
    graph.redirect("a", "x")
    assert last.inputs == ["x", "x"]


def test_operands_that_have_to_be_constant_are_named() -> None:
    node = Node("Op", "n", ["x", "", "w"], "y")
    graph = Graph({"x": X4, "w": kernel(2)}, [node], [], [])
    assert graph.value(node, 1) is None
    assert graph.value(node, 3) is None
    np.testing.assert_array_equal(graph.required(node, 2), [1, 1])
    with pytest.raises(BadInputError, match=r"node 'n' \(Op\): input 0 \('x'\) must be a constant"):
        graph.value(node, 0)
    for missing in (1, 3):
        with pytest.raises(BadInputError, match=f"input {missing} is missing: it must be a constant"):
            graph.required(node, missing)
