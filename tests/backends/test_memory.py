"""What looking at every tensor of a network with large images holds at once: one sample's tensors, and not for long.

ONNX Runtime's own memory cannot be traced, so each array that it gives is copied into memory of numpy's, which can be.
"""

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgekd.backends import layers
from edgekd.backends.layers import prove_layers
from edgekd.backends.losses import layer_losses
from edgekd.quantization import reference
from edgekd.quantization.calibrate import Calibration, Calibrator, calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.target import load_target
from tests.backends.faults import predict
from tests.quantization.onnx_models import model, random

SIDE, CHANNELS, DEPTH = 128, 16, 16
TENSORS = DEPTH * CHANNELS * SIDE * SIDE * 4  # bytes that a sample's take
X = random(4, 3, SIDE, SIDE)
SCHEME = SCHEMES["int8-asymmetric"]


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """The most bytes that some work holds, of a network of which memory may be taken for one sample at a time."""
    monkeypatch.setattr(reference, "MOST_BYTES", TENSORS)
    monkeypatch.setattr(layers, "MOST_AT_ONCE", TENSORS)
    run = onnxruntime.InferenceSession.run

    def copied(self: Any, *arguments: Any) -> Sequence[Any]:
        return [np.array(value) for value in run(self, *arguments)]

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", copied)

    def of(work: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return of


def net() -> onnx.ModelProto:
    """Pointwise convolutions of large images, whose mean is the output."""
    edges, weights, nodes = ["x", *(f"a{index}" for index in range(DEPTH))], {}, []
    for index in range(DEPTH):
        inside = CHANNELS if index else 3
        weights[f"w{index}"] = random(CHANNELS, inside, 1, 1, seed=index) / np.float32(inside**0.5)
        nodes.append(helper.make_node("Conv", [edges[index], f"w{index}"], [edges[index + 1]]))
    nodes.append(helper.make_node("GlobalAveragePool", [edges[-1]], ["y"]))
    return model(nodes, weights, ("N", 3, SIDE, SIDE))


def test_calibration_lets_a_sample_go_before_it_looks_at_the_next(peak: Callable[..., int]) -> None:
    """Without the means that the correction of biases keeps."""
    assert (
        peak(lambda: Calibrator(net(), [{"x": X}], Calibration(correct_bias=False)).quantized(SCHEME)) < 1.6 * TENSORS
    )


def test_errors_by_layer_hold_a_sample_in_float_and_in_int8(peak: Callable[..., int]) -> None:
    """And some of one tensor in float64."""
    int8 = calibrate(net(), SCHEME, [{"x": X}])
    assert peak(lambda: layer_losses(int8, {"x": X})) < 2.6 * TENSORS


def test_the_proof_by_layers_holds_what_the_runtime_and_the_reference_made_of_a_sample(
    peak: Callable[..., int],
) -> None:
    int8 = calibrate(net(), SCHEME, [{"x": X}])
    target = load_target("x86-onnxruntime")
    assert peak(lambda: prove_layers(int8, target, {"x": X[:2]}, predict)) < 2.6 * TENSORS
