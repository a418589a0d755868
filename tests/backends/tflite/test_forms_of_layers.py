"""Convolutions over maps and volumes as the file has them: kernels, groups, biases and their steps."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests import factories
from tests.backends.tflite.harness import Model, build
from tests.backends.tflite.test_forms import MAP, becomes, weights
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
