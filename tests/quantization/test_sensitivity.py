"""Which tensors pay for int8, found with few questions, and what is asked."""

import numpy as np
import pytest

from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import Calibrator, calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.quantization.sensitivity import Switched, nearness, ranked, tensor_switch, weight_switch
from tests.quantization.test_mixed_precision import SCHEME, X, chain

UNITS = {number: frozenset({f"{number}"}) for number in range(256)}


class Costs:
    """Costs that add up, and how often they were asked for."""

    def __init__(self, costs: dict[int, float]) -> None:
        self.costs, self.asked = costs, 0

    def __call__(self, on: frozenset[str]) -> float:
        self.asked += 1
        return sum(cost for number, cost in self.costs.items() if str(number) in on)


def test_a_few_costly_units_among_many_are_found_with_few_questions() -> None:
    costs = Costs(dict.fromkeys(range(256), 1e-6) | {3: 1.0, 100: 0.5, 101: 0.3, 250: 0.2})
    found = ranked(UNITS, costs, negligible=0.01)
    assert list(found)[:4] == [3, 100, 101, 250]
    assert found.keys() == UNITS.keys()
    assert sum(found.values()) == pytest.approx(sum(costs.costs.values()))
    assert costs.asked < 64  # eight halvings of two each for each of four, less what they share; not 256


def test_without_time_units_share_what_is_known() -> None:
    costs = Costs({3: 1.0})
    assert ranked(UNITS, costs, deadline=float("-inf")) == dict.fromkeys(UNITS, 1 / 256)
    assert costs.asked == 1


def test_nothing_to_rank() -> None:
    assert ranked({}, Costs({})) == {}


def test_all_switched_on_costs_what_int8_does() -> None:
    """Within the rounding of biases, which stay in float here."""
    switched = Switched(Calibrator(chain(), [{"x": X}]), SCHEME, {"x": X})
    exact, rounded = (Reference(net).run({"x": X[:4]}) for net in (chain(), calibrate(chain(), SCHEME, [{"x": X}])))
    db = -10 * np.log10(switched.cost(frozenset(switched.names)))
    assert db == pytest.approx(nearness(exact, rounded, {}).db, abs=1.0)
    assert switched.cost(frozenset()) == pytest.approx(1e-12)


def test_each_tensor_and_each_weight_has_a_switch() -> None:
    switched = Switched(Calibrator(chain(), [{"x": X}]), SCHEMES["int8-symmetric"], {"x": X})
    weights = {weight_switch(layer) for layer in ("first", "fragile", "last")}
    assert set(switched.names) == weights | set(map(tensor_switch, switched.tensors))
    assert sorted(edge for edges in switched.tensors.values() for edge in edges) == ["b", "c", "x", "y"]
