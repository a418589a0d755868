"""Few tensors stay in float, the costliest, as many as bring int8 near enough, within a time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgekd.quantization import reference
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.parts import Part
from edgekd.quantization.reference import Reference
from edgekd.quantization.refine import ENOUGH_DB, Refined, Start, refine
from edgekd.quantization.scheme import SCHEMES, Scheme
from edgekd.quantization.sensitivity import Nearness, nearness
from tests.quantization.onnx_models import model, random

node = helper.make_node
SCHEME = SCHEMES["int8-asymmetric"]
X = random(6, 3, 6, 6, seed=9)


def branches(*spreads: float) -> onnx.ModelProto:
    """Branches that are summed up: channels of one that differ by `spread` are lost in int8."""
    nodes, values = [], {}
    for index, spread in enumerate(spreads):
        name = f"b{index}"
        nodes += [node("Conv", ["x", f"{name}.weight"], [name]), node("Conv", [name, f"{name}.out"], [f"{name}.y"])]
        values[f"{name}.weight"] = random(3, 3, 1, 1, seed=index) * np.array([spread, 1, 1], np.float32).reshape(
            3, 1, 1, 1
        )
        values[f"{name}.out"] = random(2, 3, 1, 1, seed=9 + index) / np.array([spread, 1, 1], np.float32).reshape(
            1, 3, 1, 1
        )
    nodes.append(node("Sum", [f"b{index}.y" for index in range(len(spreads))], ["y"]))
    return model(nodes, values)


class Counting(Calibrator):
    """Remembers what was kept in float in each attempt."""

    def __init__(self, net: onnx.ModelProto) -> None:
        super().__init__(net, [{"x": X}])
        self.attempts: list[tuple[str, ...]] = []

    def quantized(self, scheme: Scheme, keep_float: Iterable[str] = ()) -> onnx.ModelProto:
        self.attempts.append(tuple(keep_float))
        return super().quantized(scheme, keep_float)


def refined(net: onnx.ModelProto, seconds: float = 60.0, keep: Sequence[str] = ()) -> tuple[Refined, Counting]:
    calibrator = Counting(net)
    quantized = calibrator.quantized(SCHEME, keep)
    calibrator.attempts.clear()
    exact, rounded = (Reference(each).run({"x": X}) for each in (net, quantized))
    start = Start(quantized, {"x": X}, rounded, exact, nearness(exact, rounded, {}))
    return refine(calibrator, SCHEME, start, keep, seconds), calibrator


def db(net: onnx.ModelProto, quantized: onnx.ModelProto) -> float:
    exact, rounded = (Reference(each).run({"x": X})["y"].astype(np.float64) for each in (net, quantized))
    return float(10 * np.log10((exact**2).sum() / ((exact - rounded) ** 2).sum()))


def test_what_is_near_enough_stays_as_it_is() -> None:
    found, calibrator = refined(branches(1.0, 1.0))
    assert found.met
    assert found.kept == ()
    assert calibrator.attempts == []
    assert found.before == found.after
    assert found.before.db == pytest.approx(db(branches(1.0, 1.0), found.model))
    assert len(found.costly) == 3


def test_the_tensor_that_int8_ruins_stays_in_float_and_no_more() -> None:
    net = branches(1.0, 3000.0, 1.0)
    found, calibrator = refined(net)
    assert found.met
    assert found.kept == ("b1",)
    assert found.costly[0] == "b1"
    assert calibrator.attempts == [("b1",)]
    assert found.before.db < ENOUGH_DB <= found.after.db == pytest.approx(db(net, found.model))


@pytest.mark.parametrize(("db", "tried"), [(ENOUGH_DB, 0), (ENOUGH_DB - 0.01, 1)])
def test_what_is_just_near_enough_is_left_alone(db: float, tried: int) -> None:
    net = branches(1.0, 3000.0)
    calibrator = Counting(net)
    quantized, exact = calibrator.quantized(SCHEME), Reference(net).run({"x": X})
    found = refine(calibrator, SCHEME, Start(quantized, {"x": X}, exact, exact, Nearness("y", db)))
    assert (found.tried, found.met, found.seconds, found.outputs is exact) == (tried, True, 60.0, not tried)


def test_a_search_is_cut_short_where_tensors_were_not_told_apart_in_time() -> None:
    found, _ = refined(branches(1.0, 1.0), seconds=0.0)
    assert (found.met, found.tried, found.cut_short) == (True, 0, True)
    assert not refined(branches(1.0, 1.0))[0].cut_short


@pytest.mark.parametrize(("count", "together", "known"), [(8, True, True), (12, True, False), (66, False, False)])
def test_answers_are_handed_on_where_they_are_those_to_all_samples(
    count: int, together: bool, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight samples are asked first: of twelve at once they are another batch, and 64 are judged at most."""
    if not together:
        monkeypatch.setattr(reference, "MOST_BYTES", 1)
    net, x = branches(3000.0), random(count, 3, 6, 6, seed=9)
    calibrator = Counting(net)
    quantized = calibrator.quantized(SCHEME)
    exact, rounded = (Reference(each).run({"x": x}, 64) for each in (net, quantized))
    found = refine(calibrator, SCHEME, Start(quantized, {"x": x}, rounded, exact, nearness(exact, rounded, {})))
    assert found.tried >= 1
    assert (found.outputs is not None) is known


@pytest.mark.parametrize("ruined", [(0,), (3, 4), (0, 2, 5), (0, 1, 3, 5), (0, 1, 2, 3, 5)])
def test_the_first_attempt_keeps_as_many_as_are_ruined(ruined: tuple[int, ...]) -> None:
    found, calibrator = refined(branches(*(3000.0 if index in ruined else 1.0 for index in range(6))))
    assert {*calibrator.attempts[0]} == {f"b{index}" for index in ruined}
    assert found.met
    assert set(found.kept) <= {f"b{index}" for index in ruined}
    assert set(found.costly) <= {f"b{index}" for index in ruined} or len(ruined) < 3


def test_as_many_as_cost_too_much_together_are_tried_first() -> None:
    found, calibrator = refined(branches(3000.0, 1.0, 3000.0, 3000.0))
    assert found.met
    assert set(found.kept) == {"b0", "b2", "b3"}
    assert [len(kept) for kept in calibrator.attempts] == [3, 1, 2]  # fewer would not do
    assert (found.tried, found.cut_short) == (3, False)


def test_without_time_nothing_is_tried() -> None:
    found, calibrator = refined(branches(1.0, 3000.0), seconds=0.0)
    assert (found.kept, found.met, calibrator.attempts) == ((), False, [])
    assert found.before == found.after
    assert (found.tried, found.cut_short, found.costly) == (0, True, ())


def test_an_attempt_asks_each_large_sample_once_and_hands_the_answers_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of samples that go through one at a time, answers are those that asking for all of them gives, bit for bit."""
    monkeypatch.setattr(reference, "MOST_BYTES", 1)
    net, x = branches(1.0, 3000.0, 1.0), random(12, 3, 6, 6, seed=9)
    calibrator = Counting(net)
    quantized = calibrator.quantized(SCHEME)
    exact, rounded = (Reference(each).run({"x": x}, 64) for each in (net, quantized))
    asked, run = Counter[str](), onnxruntime.InferenceSession.run

    def counted(session: Any, outputs: Any, inputs: Any) -> Any:
        asked["attempts"] += len(inputs) == 1  # the ranking's model has its switches, too
        return run(session, outputs, inputs)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    found = refine(calibrator, SCHEME, Start(quantized, {"x": x}, rounded, exact, nearness(exact, rounded, {})))
    assert found.met
    assert asked["attempts"] == 12 * found.tried
    assert found.outputs is not None
    np.testing.assert_array_equal(found.outputs["y"], Reference(found.model).run({"x": x}, 64)["y"])


def test_layers_that_a_user_keeps_stay_kept() -> None:
    found, calibrator = refined(branches(3000.0, 3000.0), keep=("b1",))
    assert all(kept[0] == "b1" for kept in calibrator.attempts)
    assert found.kept == ("b0",)


def test_the_worst_part_of_all_real_outputs_counts() -> None:
    left, right = Part("l", (slice(None), slice(0, 1))), Part("r", (slice(None), slice(1, 2)))
    exact = {"y": np.array([[100.0, 1.0], [100.0, 1.0]]), "i": np.array([1, 2]), "z": np.array([[1.0]])}
    rounded = {"y": np.array([[101.0, 1.0], [100.0, 1.5]]), "i": np.array([2, 2]), "z": np.array([[1.0]])}
    assert nearness(exact, rounded, {}).part == "y"
    assert nearness(exact, rounded, {}).db == pytest.approx(10 * np.log10(20002 / 1.25))
    apart = nearness(exact, rounded, {"y": (left, right)})
    assert (apart.part, apart.db) == ("y[r]", pytest.approx(10 * np.log10(2 / 0.25)))
    same = nearness({"y": exact["y"]}, {"y": exact["y"]}, {})
    assert same.db == 120.0
    assert nearness({"i": exact["i"]}, {"i": rounded["i"]}, {}) == nearness({}, {}, {})
    assert nearness({"y": exact["z"]}, {"y": np.array([[np.nan]])}, {}).db == -120.0
    assert nearness({"y": np.zeros((1, 1))}, {"y": np.ones((1, 1))}, {}).db == 120.0
