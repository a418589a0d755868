"""Convolutions over maps and volumes as the file has them: kernels, groups, biases and their steps."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekd.onnx_graph import at_batch, inferred
from tests import factories
from tests.backends.tflite.harness import Model, build, distance
from tests.backends.tflite.test_forms import MAP, becomes, check_shapes, weights
from tests.factories import Net


def operands(built: Model, kind: str) -> list[Any]:
    """What the first operator of a kind reads."""
    operator = built.graph.operators[built.ops.index(kind)]
    return [built.graph.tensors[index] for index in operator.inputs]


@pytest.mark.parametrize(
    ("inputs", "outputs", "group", "multiplier"),
    [(1, 4, None, 0), (1, 3, 1, 0), (4, 4, 2, 0), (3, 2, None, 0), (2, 2, 2, 1), (2, 4, 2, 2), (3, 6, 3, 2)],
)
def test_a_group_for_each_channel_is_depthwise(inputs: int, outputs: int, group: int | None, multiplier: int) -> None:
    """Others are CONV_2D's own; without a bias there are as many zeros as outputs."""
    kind = "DEPTHWISE_CONV_2D" if multiplier else "CONV_2D"
    options = {} if group is None else {"group": group}

    def net_of(net: Net) -> str:
        return net.op("Conv", "input", weights(net, outputs, inputs // (group or 1), 2, 3), **options)

    becomes((inputs, 4, 5), net_of, kind)
    net = Net(0, (inputs, 4, 5))
    built = build(net.model(net_of(net)), "float")
    assert getattr(built.graph.operators[0].builtinOptions, "depthMultiplier", 0) == multiplier
    zeros = operands(built, kind)[2]
    assert (tuple(zeros.shape), zeros.type, zeros.quantization) == ((outputs,), schema.TensorType.FLOAT32, None)


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_zeros_beside_an_int8_layer_are_counted_in_steps_of_its_products(kind: str) -> None:
    net = Net(0, MAP)
    model = factories.quantize(net.model(net.op(kind, "input", weights(net, 3, 3, 2, 2))), net.inputs(64))
    x, weight, zeros = operands(build(model), "CONV_2D")
    assert zeros.type == schema.TensorType.INT32
    np.testing.assert_array_equal(
        zeros.quantization.scale, x.quantization.scale[0] * np.broadcast_to(weight.quantization.scale, zeros.shape)
    )
    assert not np.any(zeros.quantization.zeroPoint)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [(7, 4), (4, 7)])
def test_automatic_padding_follows_the_size_of_the_map(mode: str, size: tuple[int, int]) -> None:
    ops = "PAD CONV_2D" if mode == "SAME_LOWER" else "CONV_2D"
    options = {"auto_pad": mode, "strides": [2, 3]}
    becomes((3, *size), lambda net: net.op("Conv", "input", weights(net, 2, 3, 4, 4), **options), ops)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("options", "ops"),
    [
        ({}, "TRANSPOSE CONV_3D TRANSPOSE"),
        ({"pads": [0] * 6}, "TRANSPOSE CONV_3D TRANSPOSE"),
        ({"pads": [1, 0, 2, 0, 1, 0]}, "TRANSPOSE PAD CONV_3D TRANSPOSE"),
        ({"strides": [1, 2, 3]}, "TRANSPOSE CONV_3D TRANSPOSE"),
        ({"dilations": [2, 1, 2]}, "TRANSPOSE CONV_3D TRANSPOSE"),
    ],
)
def test_convolutions_over_volumes(options: dict[str, list[int]], ops: str, biased: bool) -> None:
    def net_of(net: Net) -> str:
        return net.op("Conv", "input", weights(net, 3, 2, 2, 3, 2), *[weights(net, 3)] * biased, **options)

    becomes((2, 4, 5, 6), net_of, ops)


SPREAD, CUT = "TRANSPOSE_CONV", "TRANSPOSE_CONV STRIDED_SLICE"
PLACED, PARTED = "CONV_2D DEPTH_TO_SPACE", "CONV_2D DEPTH_TO_SPACE STRIDED_SLICE"
# kernel, strides, options, what it becomes where one sample is asked for, and where any number of them is
SPREADS: list[tuple[tuple[int, int], list[int], dict[str, Any], str, str]] = [
    ((2, 3), [2, 2], {}, SPREAD, f"PAD {PARTED}"),
    ((3, 2), [2, 2], {}, SPREAD, f"PAD {PARTED}"),
    ((1, 1), [2, 2], {}, CUT, PARTED),
    ((2, 2), [3, 3], {}, CUT, PARTED),
    ((2, 2), [3, 3], {"output_padding": [1, 1]}, SPREAD, PLACED),
    ((2, 2), [3, 3], {"output_padding": [0, 2]}, f"PAD {PARTED}", f"PAD {PARTED}"),  # what no tap of the kernel reaches
    ((2, 2), [3, 3], {"output_padding": [2, 0]}, f"PAD {PARTED}", f"PAD {PARTED}"),
    ((2, 2), [1, 2], {}, "PAD CONV_2D RESHAPE", "PAD CONV_2D RESHAPE"),
    ((3, 4), [1, 2], {"pads": [1] * 4}, "PAD CONV_2D RESHAPE STRIDED_SLICE", "PAD CONV_2D RESHAPE STRIDED_SLICE"),
    ((4, 3), [1, 1], {"pads": [1, 1, 2, 1]}, "PAD CONV_2D RESHAPE", "PAD CONV_2D RESHAPE"),
    ((3, 3), [1, 1], {"pads": [1] * 4, "group": 2}, "CONV_2D RESHAPE", "CONV_2D RESHAPE"),
    ((4, 4), [2, 2], {"pads": [1] * 4}, SPREAD, f"PAD {PARTED}"),
    ((4, 4), [2, 2], {"pads": [3] * 4}, CUT, PARTED),
    ((5, 3), [2, 2], {"pads": [1, 0, 2, 1]}, SPREAD, f"PAD {PARTED}"),
    ((3, 3), [2, 2], {"pads": [0, 1, 1, 0]}, CUT, f"PAD {PARTED}"),
    ((6, 6), [2, 2], {"pads": [2] * 4}, SPREAD, PLACED),
    ((7, 4), [2, 2], {"pads": [4, 2, 3, 1]}, CUT, f"PAD {PARTED}"),
    ((2, 3), [2, 2], {"dilations": [3, 2]}, SPREAD, f"PAD {PARTED}"),
    ((3, 3), [2, 2], {"group": 2}, SPREAD, f"PAD {PARTED}"),
    # more is cut off than the kernel reaches
    ((2, 2), [1, 1], {"pads": [2, 2, 0, 0]}, "CONV_2D STRIDED_SLICE", "CONV_2D STRIDED_SLICE"),
    ((2, 2), [1, 1], {"pads": [0, 0, 3, 3]}, "PAD CONV_2D STRIDED_SLICE", "PAD CONV_2D STRIDED_SLICE"),
    ((2, 3), [2, 2], {"pads": [4, 5, 3, 1]}, CUT, PARTED),
]


@pytest.mark.parametrize(("kernel", "strides", "options", "one", "many"), SPREADS)
def test_transposed_convolutions_of_one_sample_and_of_many(
    kernel: tuple[int, int], strides: list[int], options: dict[str, Any], one: str, many: str
) -> None:
    net, groups = Net(1, (4, 5, 7)), options.get("group", 1)
    biases = [weights(net, 6)] if kernel != (3, 2) else []
    weight = weights(net, 4, 6 // groups, *kernel)
    model = net.model(net.op("ConvTranspose", "input", weight, *biases, strides=strides, **options))
    for count, ops, made in ((1, one, at_batch(model, 1)), (3, many, model)):
        built, x = build(inferred(made), "float"), net.inputs(count, seed=5)
        assert " ".join(built.ops) == ops
        expected = factories.reference(model, x)["logits"]
        np.testing.assert_allclose(built.run(x)["logits"], expected, atol=1e-5)  # float32: sums in another order
    check_shapes(built)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("kernel", "strides"), [((3, 2), [2, 2]), ((2, 3), [1, 2])])
def test_int8_weights_of_each_output_keep_their_steps(
    kernel: tuple[int, int], strides: list[int], biased: bool
) -> None:
    net = Net(3, (4, 5, 7))
    draws = net.rng.normal(0, 0.3, (4, 3, *kernel)) * np.array([1, 3, 0.2])[:, None, None]
    biases = [weights(net, 3)] if biased else []
    model = net.model(net.op("ConvTranspose", "input", net.constant(draws), *biases, strides=strides))
    quantised = factories.quantize(model, net.inputs(32))
    built, x = build(quantised), net.inputs(3, seed=5)
    _, weight, bias = operands(built, "CONV_2D")
    repeats = strides[0] * strides[1]
    assert (len(weight.quantization.scale), len(bias.quantization.scale)) == (3 * repeats, 3 * repeats)
    np.testing.assert_array_equal(weight.quantization.scale, np.tile(weight.quantization.scale[:3], repeats))
    assert distance(built, factories.reference(quantised, x), x, "reference") <= 1.01
