"""What layers in float are predicted to cost and win, and in which order they are kept there."""

import pytest

from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.exchange import Boundaries, Rates, by_rate
from edgekd.quantization.scheme import find_scheme
from tests.factories import Net


@pytest.fixture(scope="module")
def chain():
    """Three convolutions in a row; the samples that they are calibrated on."""
    net = Net(0, (4, 8, 8))
    x = net.relu(net.conv("input", 4, 8))
    x = net.relu(net.conv(x, 8, 8))
    model = net.model(net.relu(net.conv(x, 8, 2)))
    batch = {"input": net.inputs(8)}
    return Boundaries(Calibrator(model, [batch]), find_scheme("int8-asymmetric")), batch


def test_boundaries_are_paid_by_the_element_and_vanish_between_neighbours(chain):
    """The input has 4, the edges behind the layers 8, 8 and 2 values for each of 64 pixels."""
    boundaries, _ = chain
    first, second, last = boundaries.layers
    assert boundaries.crossing([]) == 0
    assert boundaries.crossing([second]) == 64 * (8 + 8)
    assert boundaries.crossing([first]) == 64 * (8 - 4)  # the input stays as it comes
    assert boundaries.crossing([first, second]) == 64 * (8 - 4)
    assert boundaries.crossing([first, second, last]) == 64 * (-4 - 2)  # nothing is quantised any more


def test_a_prediction_adds_layers_and_boundaries():
    rates = Rates(100.0, {"a": 5.0, "b": -2.0}, element_ns=0.5)
    assert rates.us(["a", "b", "unknown"], 4000) == 100 + 5 - 2 + 2


def test_what_wins_and_saves_comes_first_and_dear_layers_last(chain):
    boundaries, batch = chain
    first, second, last = boundaries.layers
    steps = by_rate(boundaries, Rates(100.0, {first: 50.0, second: 50.0, last: -5.0}), batch)
    assert steps[0] == (last,)
    assert sorted(layer for step in steps for layer in step) == sorted(boundaries.layers)
    dear = by_rate(boundaries, Rates(100.0, {first: 1e6, second: 1.0, last: 1.0}), batch)
    assert dear[-1] == (first,)


def test_neighbours_are_kept_together_where_a_boundary_costs_more_than_a_layer(chain):
    boundaries, batch = chain
    rates = Rates(100.0, dict.fromkeys(boundaries.layers, 0.01), element_ns=100.0)
    assert len(by_rate(boundaries, rates, batch)[0]) == len(boundaries.layers)  # so that no value changes at all
    assert boundaries.priced(boundaries.layers, rates) == pytest.approx(100 + 0.03 - 0.1 * 64 * (4 + 2))
