"""What calibration can do beyond ranges: equalised channels, corrected biases, and a report of who loses precision."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import Calibration, calibrate, plain
from edgekd.quantization.clean import clean
from edgekd.quantization.equalize import equalize
from edgekd.quantization.errors_by_layer import layer_errors
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.quantization.onnx_models import constants, model, random

node = helper.make_node
COARSE = Scheme("coarse", "uint8", symmetric=False, weight_max=3, bias="int32", residual="both")
X = np.abs(random(16, 3, 6, 6, seed=9))


def chain() -> onnx.ModelProto:
    """Conv, ReLU, depthwise conv, ReLU, conv; the channels of the first differ a hundredfold."""
    uneven = np.array([0.1, 1.0, 10.0, 0.3], np.float32).reshape(4, 1, 1, 1)
    return model(
        [
            node("Conv", ["x", "a.weight", "a.bias"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "d.weight"], ["d"], group=4, pads=[1, 1, 1, 1]),
            node("Relu", ["d"], ["e"]),
            node("Conv", ["e", "z.weight"], ["y"]),
        ],
        {
            "a.weight": random(4, 3, 1, 1) * uneven,
            "a.bias": random(4, seed=1) * uneven.reshape(-1),
            "d.weight": random(4, 1, 3, 3, seed=2),
            "z.weight": random(2, 4, 1, 1, seed=3) / uneven.reshape(1, 4, 1, 1),
        },
    )


def error(quantized: onnx.ModelProto) -> float:
    exact, rounded = Reference(chain()).run({"x": X})["y"], Reference(quantized).run({"x": X})["y"]
    return float(np.mean((exact - rounded) ** 2) / exact.var())


def test_equalised_layers_compute_the_same_with_channels_of_one_range() -> None:
    plain = clean(chain())
    even = equalize(plain)
    before, after = Reference(plain).run({"x": X})["y"], Reference(even).run({"x": X})["y"]
    np.testing.assert_allclose(after, before, atol=1e-5 * float(np.abs(before).max()))  # float32 products
    weights = constants(even)
    into = np.abs(weights["d.weight"]).max(axis=(1, 2, 3))
    out = np.abs(weights["z.weight"]).max(axis=(0, 2, 3))
    np.testing.assert_allclose(into, out, rtol=1e-5)  # eq. 11


def test_equalising_helps_uneven_channels() -> None:
    scheme = SCHEMES["int8-asymmetric"]
    plain, even = (Calibration("minmax", equalize=on, correct_bias=False) for on in (False, True))
    assert error(calibrate(chain(), scheme, [{"x": X}], how=even)) < error(
        calibrate(chain(), scheme, [{"x": X}], how=plain)
    )


def test_corrected_biases_take_the_mean_error_away() -> None:
    def bias(how: Calibration) -> float:
        quantized = calibrate(chain(), COARSE, [{"x": X}], how=how)
        exact, rounded = Reference(chain()).run({"x": X})["y"], Reference(quantized).run({"x": X})["y"]
        return float(np.linalg.norm((exact - rounded).mean(axis=(0, 2, 3))))

    # Three-bit weights; each layer is corrected for inputs in float, so that part of what comes before it stays.
    assert bias(Calibration("minmax")) < bias(Calibration("minmax", correct_bias=False)) / 4


def test_a_bias_that_is_an_add_of_its_own_is_corrected_too() -> None:
    """As of a linear layer on sequences; its channels are the last axis."""
    w, b, x = random(6, 5, seed=3), random(5, seed=4), random(16, 7, 6, seed=5) + 2
    nodes = [node("MatMul", ["x", "w"], ["product"]), node("Add", ["b", "product"], ["y"])]
    net = model(nodes, {"w": w, "b": b}, input_shape=("N", 7, 6), output_rank=3)

    def bias(correct: bool) -> float:
        rounded = calibrate(net, COARSE, [{"x": x}], how=Calibration("minmax", correct_bias=correct))
        return float(np.abs((Reference(rounded).run({"x": x})["y"] - (x @ w + b)).mean(axis=(0, 1))).max())

    assert bias(correct=True) < bias(correct=False) / 10  # three-bit weights; activations have eight


def test_each_call_of_one_layer_is_corrected_for_what_it_gets() -> None:
    """Of both, one mean would serve neither: the second gets what the first makes."""
    calls = [node("Conv", ["x", "l.weight", "l.bias"], ["a"]), node("Conv", ["a", "l.weight", "l.bias"], ["y"])]
    net = model(calls, {"l.weight": random(3, 3, 1, 1), "l.bias": random(3, seed=1) + 3})
    exact = Reference(net).run({"x": X})["y"]

    def bias(correct: bool) -> float:
        rounded = calibrate(net, COARSE, [{"x": X}], how=Calibration("minmax", correct_bias=correct))
        return float(np.abs((Reference(rounded).run({"x": X})["y"] - exact).mean(axis=(0, 2, 3))).max())

    # As of a chain; the first one's rounded weights stand before the second.
    assert bias(correct=True) < bias(correct=False) / 4


def test_matrices_need_not_have_their_samples_first() -> None:
    """Steps of a sequence come first here, and batches differ in size: a mean is over all rows, whatever they are."""
    w, b = random(6, 5, seed=3), random(5, seed=4)
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), node("MatMul", ["t", "w"], ["product"])]
    nodes += [node("Add", ["product", "b"], ["sum"]), node("Transpose", ["sum"], ["y"], perm=[1, 0, 2])]
    net = model(nodes, {"w": w, "b": b}, input_shape=("N", 7, 6), output_rank=3)
    x = random(18, 7, 6, seed=5) + 2

    def bias(batches: list[dict[str, np.ndarray]], correct: bool) -> float:
        rounded = calibrate(net, COARSE, batches, how=Calibration("minmax", correct_bias=correct))
        return float(np.abs((Reference(rounded).run({"x": x})["y"] - (x @ w + b)).mean(axis=(0, 1))).max())

    apart = [{"x": x[:16]}, {"x": x[16:]}]
    assert bias(apart, correct=True) < bias([{"x": x}], correct=False) / 10  # as above


@pytest.mark.parametrize("culprit", ["a", "z"])
def test_the_report_names_the_layer_that_loses_most(culprit: str) -> None:
    net = clean(chain())
    coarse, fine = calibrate(chain(), COARSE, [{"x": X}]), calibrate(chain(), SCHEMES["int8-asymmetric"], [{"x": X}])
    swap = {tensor.name: tensor for tensor in coarse.graph.initializer if tensor.name.startswith(f"{culprit}.weight")}
    for tensor in fine.graph.initializer:
        if tensor.name in swap:
            tensor.CopyFrom(swap[tensor.name])
    worst = layer_errors(net, fine, [{"x": X}])[0]
    assert (worst.layer, worst.kind) == (culprit, "Conv")
    assert worst.lost > 10
    assert str(worst).startswith(f"Conv {culprit}: ")


def test_the_report_knows_what_was_equalised() -> None:
    """Equalised tensors differ from the original's a hundredfold; beside their own original they lose little."""
    how = Calibration(equalize=True)
    quantized = calibrate(chain(), SCHEMES["int8-asymmetric"], [{"x": X}], how=how)
    assert min(each.sqnr for each in layer_errors(plain(chain(), how), quantized, [{"x": X}])) > 30
    assert min(each.sqnr for each in layer_errors(chain(), quantized, [{"x": X}])) < 20


def test_beside_its_own_weights_the_layers_have_the_same_names() -> None:
    quantized = calibrate(chain(), SCHEMES["int8-asymmetric"], [{"x": X}])
    ours = layer_errors(strip_activations(quantized)[0], quantized, [{"x": X}])
    assert {(each.layer, each.kind) for each in ours} == {(name, "Conv") for name in ("a", "d", "z")}
    assert next(each.sqnr for each in ours if each.layer == "a") > 30  # eight bits of the input and of the output
