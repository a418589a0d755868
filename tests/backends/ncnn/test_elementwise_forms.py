"""Functions of two numbers: by each form of their operands against ONNX Runtime, else refused."""

import numpy as np
import pytest

from edgekd.errors import BadInputError
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net

MAP = (4, 5, 6)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"])
@pytest.mark.parametrize("held", [(), (1,), (6,), (5, 1), (4, 1, 1), (1, 4, 5, 6)])
@pytest.mark.parametrize("first", [True, False])
def test_a_constant_of_any_rank_on_either_side(kind: str, held: tuple[int, ...], first: bool) -> None:
    net = Net(0, MAP)
    positive = net.op("Add", net.op("Sigmoid", "input"), net.constant(0.5))
    constant = net.constant(net.rng.uniform(0.5, 2, held))
    agrees(net, net.op(kind, *((constant, positive) if first else (positive, constant))))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("first", [True, False])
def test_a_computed_operand_is_stretched(axis: int, first: bool) -> None:
    net = Net(0, MAP)
    mean = net.op("ReduceMean", "input", net.constant([axis], np.int64), keepdims=1)
    agrees(net, net.op("Sub", mean, "input") if first else net.op("Sub", "input", mean))


def test_three_operands_are_refused() -> None:
    net = Net(0, MAP)
    with pytest.raises(BadInputError, match="'max_0' .*: 3 operands: the ncnn backend has two"):
        build(net.model(net.op("Max", "input", net.constant(0.0), net.constant(1.0))), "float")


@pytest.mark.parametrize("slope", [(1,), (4, 1, 1)])
def test_a_slope_for_all_or_for_each_channel(slope: tuple[int, ...]) -> None:
    net = Net(0, MAP)
    agrees(net, net.op("PRelu", "input", net.constant(net.rng.uniform(0.1, 0.5, slope))))


@pytest.mark.parametrize("slope", [(6,), (5, 1), (4, 5, 6), (1, 4, 1, 1)])
def test_other_slopes_are_refused(slope: tuple[int, ...]) -> None:
    net = Net(0, MAP)
    y = net.op("PRelu", "input", net.constant(np.full(slope, 0.25)))
    with pytest.raises(BadInputError, match="its slope is not one number, or one for each channel"):
        build(net.model(y), "float")
