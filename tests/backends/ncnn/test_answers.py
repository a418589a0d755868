"""Operations by every form of their operands, against ONNX Runtime: 1e-5 of the range, the order of sums differs."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from tests import factories
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
MAP, ROW = (5, 6, 7), (6,)


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


@pytest.mark.parametrize(("axis", "sizes"), [(1, (2, 3)), (2, (1, 5)), (3, (2, 2, 3)), (-1, (3, 4))])
def test_parts_along_any_axis(axis: int, sizes: tuple[int, ...]) -> None:
    net = Net(0, MAP)
    first = net.op("Split", "input", integers(net, *sizes), axis=axis)
    parts = [first, *(f"{first}_{place}" for place in range(1, len(sizes)))]
    net.nodes[-1].output[:] = parts
    assert agrees(net, *parts).kinds == ["Input", "Slice"]


@pytest.mark.parametrize("shape", [MAP, (4, 7), ROW])
@pytest.mark.parametrize("steps", [(), (1,)])
def test_a_span_of_any_axis(shape: tuple[int, ...], steps: tuple[int, ...]) -> None:
    net = Net(0, shape)
    more = [integers(net, *steps)] if steps else []
    cuts = [
        net.op("Slice", "input", integers(net, start), integers(net, end), integers(net, axis), *more)
        for axis in range(1, len(shape) + 1)
        for start, end in ((1, 3), (-2, 2**40))
    ]
    assert set(agrees(net, *cuts).kinds) == {"Input", "Split", "Crop"}


@pytest.mark.parametrize("index", [2, -1, [1], [1, 2, 3]])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_indices_that_follow_each_other(index: Any, axis: int) -> None:
    net = Net(0, MAP)
    assert "Crop" in agrees(net, net.op("Gather", "input", net.constant(index, np.int64), axis=axis)).kinds


@pytest.mark.parametrize("index", [[2, 1], [0, 2], [[0, 1]]])
def test_other_indices_are_refused(index: Any) -> None:
    net = Net(0, MAP)
    model = net.model(net.op("Gather", "input", net.constant(index, np.int64), axis=1))
    with pytest.raises(BadInputError, match="takes indices that follow each other"):
        build(model, "float")


@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        (ROW, (2, 3)),
        ((4, 7), (1, 0, 2, 3)),
        ((4, 7), (0, 3, 0, 1)),
        (MAP, (1, 2, 0, 3, 0, 4)),
        (MAP, (0, 1, 2, 0, 3, 4)),
    ],
)
def test_padding_before_and_after_each_axis(shape: tuple[int, ...], pads: tuple[int, ...]) -> None:
    net, half = Net(0, shape), len(shape)
    amounts = integers(net, 0, *pads[:half], 0, *pads[half:])
    agrees(net, net.op("Pad", "input", amounts, net.constant(0.75)))


def test_a_cast_to_float_costs_nothing_and_to_integers_is_refused() -> None:
    net = Net(0, ROW)
    assert agrees(net, net.relu(net.op("Cast", "input", to=FLOAT))).kinds == ["Input", "ReLU"]
    with pytest.raises(BadInputError, match="computes in float alone"):
        build(net.model(net.op("Cast", net.op("Cast", "input", to=INT64), to=FLOAT)), "float")


@pytest.mark.parametrize(("low", "high"), [(-0.5, None), (None, 0.5), (-0.25, 0.5)])
def test_a_clip_has_the_limits_it_is_given(low: float | None, high: float | None) -> None:
    net = Net(0, MAP)
    agrees(net, net.op("Clip", "input", *("" if limit is None else net.constant(limit) for limit in (low, high))))


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LeakyRelu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {}),
        ("Elu", {"alpha": 0.3}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.1}),
        ("Softmax", {}),
        ("Softmax", {"axis": 1}),
    ],
)
def test_a_function_has_its_own_settings_or_onnx_s(kind: str, attributes: dict[str, Any]) -> None:
    net = Net(0, (5, 6))
    agrees(net, net.op(kind, "input", **attributes))


def test_products_of_two_activations_and_of_a_constant_with_one() -> None:
    net = Net(0, MAP)
    turned = net.op("Transpose", "input", perm=[0, 1, 3, 2])
    constant = net.constant(net.rng.normal(0, 0.4, (5, 4, 6)))
    found = agrees(net, net.op("MatMul", "input", turned), net.op("MatMul", constant, "input"))
    assert found.kinds.count("MatMul") == 2


@pytest.mark.parametrize("where", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (5, 3)])
def test_padding_that_follows_from_sizes(where: str, kernel: int, stride: int) -> None:
    net = Net(0, (2, 8, 7))
    weight = net.constant(net.rng.normal(0, 0.3, (3, 2, kernel, kernel)))
    agrees(net, net.op("Conv", "input", weight, auto_pad=where, strides=[stride] * 2))


@pytest.mark.parametrize(("channels", "length", "outputs"), [(3, 9, 4), (8, 5, 3)])
def test_a_sequence_is_one_row_high(channels: int, length: int, outputs: int) -> None:
    net = Net(0, (channels, length))
    agrees(net, net.op("Conv", "input", net.constant(net.rng.normal(0, 0.3, (outputs, channels, 3))), pads=[1, 1]))


def test_a_batch_that_is_fixed_is_left_out_like_a_free_one() -> None:
    model = factories.float_dscnn()
    free = build(model, "float").text
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert build(model, "float").text == free
