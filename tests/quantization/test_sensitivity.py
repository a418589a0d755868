"""Which tensors pay for int8, found with few questions, and what is asked."""

import numpy as np
import pytest

from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import Calibration, Calibrator, calibrate
from edgekd.quantization.refine import _Fewest
from edgekd.quantization.scheme import SCHEMES
from edgekd.quantization.sensitivity import Ranking, Switched, nearness, tensor_switch, weight_switch
from tests.quantization.onnx_models import model, random
from tests.quantization.test_mixed_precision import SCHEME, X, chain, node

Units = dict[int, frozenset[str]]
UNITS: Units = {number: frozenset({f"{number}"}) for number in range(256)}


class Costs:
    """Costs that add up, and how often they were asked for."""

    def __init__(self, costs: dict[int, float]) -> None:
        self.costs, self.asked = costs, 0

    def __call__(self, on: frozenset[str]) -> float:
        self.asked += 1
        return sum(cost for number, cost in self.costs.items() if str(number) in on)


def ranked(units: Units, cost: Costs, negligible: float = 0.0, deadline: float = float("inf")) -> dict[int, float]:
    ranking = Ranking(units, cost, deadline)
    ranking.divide(negligible)
    return ranking.costs


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


def test_more_is_found_where_more_is_asked_for() -> None:
    costs = Costs(dict.fromkeys(range(256), 1e-6) | {3: 1.0, 100: 0.5, 250: 0.2})
    ranking = Ranking(UNITS, costs)
    ranking.divide(negligible=0.8)
    asked = costs.asked
    assert next(iter(ranking.costs)) == 3
    assert list(ranking.costs)[:3] != [3, 100, 250]
    ranking.divide(negligible=0.8, known=3)
    assert list(ranking.costs)[:3] == [3, 100, 250]
    assert asked < costs.asked < 48


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


def test_costs_that_are_known_are_added_up_and_ties_keep_their_order() -> None:
    costs = Costs({0: 1.0, 1: 4.0, 2: 2.0, 3: 2.0, 4: 0.5})
    found = ranked({number: UNITS[number] for number in range(5)}, costs)
    assert list(found.items()) == [(1, 4.0), (2, 2.0), (3, 2.0), (0, 1.0), (4, 0.5)]
    assert costs.asked <= 1 + 2 * 4  # the whole, and both halves of every set of two or more


def test_sets_whose_costs_are_negligible_together_share_them() -> None:
    costs = Costs({0: 8.0, 1: 0.25, 2: 0.5, 3: 0.25})
    found = ranked({number: UNITS[number] for number in range(4)}, costs, negligible=1.0)
    assert found == {0: 8.0, 1: 0.25, 2: 0.375, 3: 0.375}
    assert costs.asked == 5
    assert ranked({number: UNITS[number] for number in range(4)}, Costs({0: 1.0}), negligible=1.0) == dict.fromkeys(
        range(4), 0.25
    )


def test_a_cost_is_that_of_what_is_switched_on_of_at_most_four_samples() -> None:
    """One convolution of x rounded to quarters, and of weights rounded to 127 steps: by hand."""
    x, weight = random(6, 2, 3, 3, seed=5), random(2, 2, 1, 1, seed=6)
    net = model([node("Conv", ["x", "c.weight"], ["y"])], {"c.weight": weight}, ("N", 2, 3, 3))
    switched = Switched(Calibrator(net, [{"x": x}], Calibration("minmax")), SCHEME, {"x": x})
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    step = (high - low) / 255
    rounded_x = np.rint(x[:4] / step) * step
    largest = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    rounded_w = np.rint(weight / largest) * largest

    def made(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.einsum("nchw,oc->nohw", values.astype(np.float64), weights[:, :, 0, 0].astype(np.float64))

    exact = made(x[:4], weight)
    (group,) = [group for group, edges in switched.tensors.items() if edges == ["x"]]
    for on, expected in (
        ({weight_switch("c")}, made(x[:4], rounded_w)),
        ({tensor_switch(group)}, made(rounded_x, weight)),
        ({tensor_switch(group), weight_switch("c")}, made(rounded_x, rounded_w)),
    ):
        noise = ((exact - expected) ** 2).sum() / (exact**2).sum()
        assert switched.cost(frozenset(on)) == pytest.approx(noise, rel=0.02)  # a tie, or the zero point's half step


@pytest.mark.parametrize("needed", [1, 2, 17, 60, 100])
def test_little_more_than_the_fewest_that_are_enough_is_found_with_few_attempts(needed: int) -> None:
    search, tried, met = _Fewest(100, 1), 0, 0
    while search.count:
        tried, met = tried + 1, search.count if search.count >= needed else met
        search.go_on(search.count >= needed)
    assert needed <= met <= needed * 9 / 8 + 1
    assert tried <= 14  # eleven that grow by half each, then halves


def test_what_is_never_enough_ends_at_all() -> None:
    search, tried = _Fewest(9, 4), []
    while search.count:
        tried.append(search.count)
        search.go_on(enough=False)
    assert tried == [4, 7, 9]
