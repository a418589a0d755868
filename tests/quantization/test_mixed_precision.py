import numpy as np
import onnx
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import Calibrator, calibrate
from edgekd.quantization.mixed_precision import mix, sensitivities
from edgekd.quantization.qdq import declared_scheme
from edgekd.quantization.scheme import SCHEMES
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
