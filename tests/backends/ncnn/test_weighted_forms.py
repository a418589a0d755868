"""Layers with weights: by each form of their operands and attributes against ONNX Runtime, else refused."""

from typing import Any

import numpy as np
import pytest

from edgekd.backends.reference import output_steps
from edgekd.errors import BadInputError
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net, on_grid, quantize, reference

MAP, ROW = (4, 5, 6), (4, 7)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_gemm_takes_weights_either_way_round(transposed: int, bias: bool) -> None:
    net = Net(0, (6,))
    weight = net.rng.normal(0, 0.4, (6, 4))
    more = [net.constant(np.arange(4))] if bias else []
    turned = {"transB": 1} if transposed else {}
    agrees(net, net.op("Gemm", "input", net.constant(weight.T if transposed else weight), *more, **turned))


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 2.0}, {"alpha": 2.0, "beta": 2.0}])
def test_gemm_with_factors_is_refused(attributes: dict[str, Any]) -> None:
    net = Net(0, (6,))
    y = net.op("Gemm", "input", net.constant(np.ones((6, 4))), net.constant(np.ones(4)), **attributes)
    with pytest.raises(BadInputError, match=r"'gemm_0' .*: transA, alpha and beta: the ncnn backend has x · W \+ b"):
        build(net.model(y), "float")


@pytest.mark.parametrize("shape", [(6,), (5, 6), (3, 5, 6)])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("bias", "taken"), [((4,), True), ((1, 4), True), ((), False), ((1,), False)])
def test_a_bias_that_is_added_is_the_layers_own(
    shape: tuple[int, ...], first: bool, bias: tuple[int, ...], taken: bool
) -> None:
    net = Net(0, shape)
    product = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    added = net.constant(net.rng.normal(0, 1, bias))
    found = agrees(net, net.op("Add", *((added, product) if first else (product, added))))
    assert ("BinaryOp" in found.kinds) != taken
    assert found.kinds.count("Reshape") == (2 if len(shape) == 3 else 0)


def test_what_is_added_row_by_row_or_to_another_reader_is_no_bias() -> None:
    net = Net(0, (4, 6))
    product = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    assert "BinaryOp" in agrees(net, net.op("Add", product, net.constant(net.rng.normal(0, 1, (4, 1))))).kinds
    net = Net(0, (4, 6))
    product = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    agrees(net, net.op("Add", product, net.constant(np.arange(4))), net.relu(product))
    net = Net(0, (4, 6))
    product = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    agrees(net, net.op("Mul", product, net.constant(np.arange(4).reshape(1, 4))))


def test_a_product_of_unlike_ranks_is_refused() -> None:
    net = Net(0, (3, 5, 6))
    y = net.op("MatMul", net.constant(np.ones((4, 5))), "input")
    with pytest.raises(BadInputError, match=r"a product of \(4, 5\) and \(3, 5, 6\): the ncnn backend has those of as"):
        build(net.model(y), "float")


@pytest.mark.parametrize("attributes", [{"output_shape": [9, 11]}, {"auto_pad": "SAME_UPPER"}])
def test_padding_that_follows_from_an_output_shape_is_refused(attributes: dict[str, Any]) -> None:
    net = Net(0, MAP)
    y = net.op("ConvTranspose", "input", net.constant(np.ones((4, 3, 3, 3))), strides=[2, 2], **attributes)
    with pytest.raises(BadInputError, match="'convtranspose_0' .*: its padding follows from an output shape"):
        build(net.model(y), "float")


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        (MAP, (3, 2), {}),
        (MAP, (3, 2), {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2], "auto_pad": "NOTSET"}),
        (ROW, (3,), {"strides": [2], "pads": [1, 0], "output_padding": [1]}),
    ],
)
def test_transposed_convolutions_of_any_group(
    group: int, shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    net = Net(0, shape)
    weight = net.constant(net.rng.normal(0, 0.4, (4, 3, *kernel)))
    grouped = {"group": group} if group > 1 else {}
    y = net.op("ConvTranspose", "input", weight, net.constant(np.arange(3 * group)), **attributes, **grouped)
    found = agrees(net, y, net.op("Softmax", y, axis=-1))
    assert ("DeconvolutionDepthWise" if group > 1 else "Deconvolution") in found.kinds


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        (MAP, (3, 2), {"strides": [1, 2], "dilations": [2, 1], "pads": [1, 0, 2, 1]}),
        (ROW, (3,), {"strides": [2], "dilations": [2], "pads": [1, 2]}),
    ],
)
def test_convolutions_have_a_window_of_their_own_along_each_axis(
    group: int, shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    net = Net(0, shape)
    weight = net.constant(net.rng.normal(0, 0.4, (8, 4 // group, *kernel)))
    grouped = {"group": group} if group > 1 else {}
    found = agrees(net, net.op("LeakyRelu", net.op("Conv", "input", weight, **attributes, **grouped)))
    assert ("ConvolutionDepthWise" if group > 1 else "Convolution") in found.kinds


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        (MAP, (4, 2), {"strides": [2, 1]}),
        (MAP, (2, 3), {"strides": [1, 2]}),
        (ROW, (4,), {"strides": [2]}),
    ],
)
def test_padding_that_follows_from_the_sizes(
    group: int, padding: str, shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    net = Net(0, shape)
    weight = net.constant(net.rng.normal(0, 0.4, (8, 4 // group, *kernel)))
    agrees(net, net.op("Conv", "input", weight, auto_pad=padding, group=group, **attributes))


@pytest.mark.parametrize(("padding", "pads"), [("SAME_UPPER", [0, 1, 1, 2]), ("SAME_LOWER", [1, 2, 0, 1])])
def test_a_dilated_window_is_padded_as_far_as_it_reaches(padding: str, pads: list[int]) -> None:
    """Here by 2 × 4 values; ONNX Runtime has no such convolution."""
    written = []
    for attributes in ({"auto_pad": padding}, {"pads": pads}):
        net = Net(0, MAP)
        y = net.op("Conv", "input", net.constant(np.ones((4, 4, 2, 2))), dilations=[1, 3], **attributes)
        written.append(build(net.model(y), "float").text)
    assert written[0] == written[1]


@pytest.mark.parametrize("first", ["Conv", "ConvTranspose"])
def test_a_line_of_a_layer_has_its_own_keys_alone(first: str) -> None:
    net = Net(0, MAP)
    y = net.op(first, "input", net.constant(net.rng.normal(0, 0.4, (4, 4, 3, 3))))
    layer = agrees(net, y).layers[1]
    assert (7 in layer.parameters, layer.number(0), layer.number(6)) == (False, 4, 144)


@pytest.mark.parametrize(("low", "high"), [(None, None), (-0.25, None), (None, 0.5)])
def test_a_layer_clips_at_the_limits_that_there_are(low: float | None, high: float | None) -> None:
    net = Net(0, MAP)
    limits = ("" if limit is None else net.constant(limit) for limit in (low, high))
    assert agrees(net, net.op("Clip", net.conv("input", 4, 3), *limits)).kinds == ["Input", "Convolution"]


def test_a_transposed_convolution_with_integer_weights_computes_in_float_and_is_told() -> None:
    net = Net(0, MAP)
    weight = net.constant(net.rng.normal(0, 0.4, (4, 3, 3, 3)))
    y = net.op("ConvTranspose", "input", weight, net.constant(np.arange(3)))
    model = quantize(net.model(y), net.inputs(32), symmetric=True)
    built, x = build(model), on_grid(model, net.inputs(4), lowest=-127)
    assert built.compiled.notes == (
        "layer 'convtranspose_0' (ConvTranspose) computes in float: ncnn has it in float only",
    )
    (step,) = output_steps(model).values()
    assert step is not None
    assert np.abs(built.run(x)["logits"] - reference(model, x)["logits"]).max() <= 1.01 * step


@pytest.mark.parametrize("position", [0, 1])
def test_vectors_and_tensors_of_unlike_ranks_are_refused_by_their_shapes(position: int) -> None:
    net = Net(0, (6,))
    features = net.constant(np.ones(6))
    y = net.op(
        "MatMul",
        *(("input", features) if position else (features, net.op("Unsqueeze", "input", net.constant([2], np.int64)))),
    )
    with pytest.raises(BadInputError, match="the ncnn backend has those of as many axes, two or more"):
        build(net.model(y), "float")


def test_a_weight_that_follows_from_constants_is_one() -> None:
    net = Net(0, (6,))
    weight = net.op("Transpose", net.constant(net.rng.normal(0, 0.4, (4, 6))), perm=[1, 0])
    assert agrees(net, net.op("MatMul", "input", weight)).kinds == ["Input", "InnerProduct"]
