from typing import cast

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import Calibrator, calibrate
from edgekd.quantization.mixed_precision import fewest, mix, sensitivities
from edgekd.quantization.qdq import declared_scheme
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.quantization.onnx_models import constants, model, random

node = helper.make_node
SCHEME = SCHEMES["int8-asymmetric"]
X = random(8, 3, 6, 6, seed=9)


def chain() -> onnx.ModelProto:
    """Three convolutions; one weight of the second is so large that int8 loses the others."""
    uneven = random(4, 4, 1, 1, seed=1)
    uneven[:, 0] = 3000 * np.sign(uneven[:, 0])
    first = random(4, 3, 1, 1)
    first[0] /= 3000
    return model(
        [
            node("Conv", ["x", "first.weight"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "fragile.weight"], ["c"]),
            node("Conv", ["c", "last.weight"], ["y"]),
        ],
        {"first.weight": first, "fragile.weight": uneven, "last.weight": random(2, 4, 1, 1, seed=3)},
    )


def noise(quantized: onnx.ModelProto) -> float:
    exact, rounded = Reference(chain()).run({"x": X})["y"], Reference(quantized).run({"x": X})["y"]
    return float(np.mean((exact - rounded) ** 2) / exact.var())


def test_the_fragile_layer_is_the_most_sensitive() -> None:
    found = sensitivities(Calibrator(chain(), [{"x": X}]), SCHEME, {"x": X})
    assert next(iter(found)) == "fragile"
    assert set(found) == {"first", "fragile", "last"}
    assert found["fragile"] > 10 * max(found["first"], found["last"])


def test_only_what_the_budget_demands_stays_in_float() -> None:
    budget = noise(calibrate(chain(), SCHEME, [{"x": X}])) / 10
    mixed = mix(chain(), SCHEME, [{"x": X}], lambda quantized: noise(quantized) < budget)
    assert (mixed.kept, mixed.met) == (("fragile",), True)
    values = constants(mixed.model)
    assert values["fragile.weight"].dtype == np.float32
    assert values["last.weight_quantized"].dtype == np.int8


def test_where_no_layer_is_computed_in_float_activations_get_more_bits() -> None:
    narrow = SCHEMES["htp-w8a8"]
    budget = noise(calibrate(chain(), narrow, [{"x": X}])) * 0.999
    mixed = mix(chain(), narrow, [{"x": X}], lambda quantized: noise(quantized) < budget)
    assert (mixed.kept, mixed.met, declared_scheme(mixed.model)) == ((), True, "htp-w8a16")
    assert mix(chain(), narrow, [{"x": X}], lambda quantized: False).met is False


def test_a_generous_budget_keeps_nothing_and_an_impossible_one_says_so() -> None:
    assert mix(chain(), SCHEME, [{"x": X}], lambda quantized: True).kept == ()
    hopeless = mix(chain(), SCHEME, [{"x": X}], lambda quantized: False)
    assert (len(hopeless.kept), hopeless.met) == (3, False)


class Asked:
    """Stands in for a calibrator: a model is what it keeps in float."""

    def __init__(self, needed: int) -> None:
        self.needed, self.attempts = needed, list[int]()

    def quantized(self, scheme: Scheme, keep_float: tuple[str, ...]) -> onnx.ModelProto:
        return onnx.ModelProto(producer_name=" ".join(keep_float))

    def enough(self, quantized: onnx.ModelProto) -> bool:
        self.attempts.append(len(quantized.producer_name.split()))
        return self.attempts[-1] >= self.needed


@pytest.mark.parametrize("needed", range(1, 10))
def test_the_fewest_steps_are_found_by_halves(needed: int) -> None:
    asked = Asked(2 * needed + 1)  # two layers a step, and one that a user keeps
    steps = tuple((f"{number}a", f"{number}b") for number in range(8))
    found = fewest(cast("Calibrator", asked), SCHEME, steps, asked.enough, ("own",))
    assert found.met is (needed <= 8)
    assert found.kept == tuple(layer for step in steps[: min(needed, 8)] for layer in step)
    assert found.model.producer_name.split() == ["own", *found.kept]
    assert len(asked.attempts) == (4 if needed <= 8 else 1)


def test_one_step_is_asked_for_once() -> None:
    asked = Asked(1)
    found = fewest(cast("Calibrator", asked), SCHEME, (("a",),), asked.enough)
    assert (found.kept, found.met, asked.attempts) == (("a",), True, [1])
