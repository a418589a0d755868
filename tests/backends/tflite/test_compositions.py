"""Random chains of ops that pull the layout both ways: convs want NHWC, reshapes and transposes ONNX's order."""

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.backends.tflite.harness import build, float_distance
from tests.factories import Net
from tests.properties import few

SIDE, CHANNELS = 6, 4


def _reshaped(net: Net, x: str) -> str:
    rows = net.op("Reshape", x, net.constant([-1, CHANNELS, SIDE * SIDE], np.int64))
    return net.op("Reshape", rows, net.constant([-1, CHANNELS, SIDE, SIDE], np.int64))


def _gated(net: Net, x: str) -> str:
    """Squeeze and excitation."""
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", x), CHANNELS, CHANNELS, kernel=1))
    return net.op("Mul", x, gate)


STEPS: dict[str, Callable[[Net, str], str]] = {
    "conv": lambda net, x: net.relu(net.conv(x, CHANNELS, CHANNELS)),
    "depthwise": lambda net, x: net.conv(x, CHANNELS, CHANNELS, group=CHANNELS),
    "residual": lambda net, x: net.relu(net.op("Add", x, net.conv(x, CHANNELS, CHANNELS, kernel=1))),
    "scaled": lambda net, x: net.op("Mul", x, net.constant(net.rng.uniform(0.5, 1.5, (CHANNELS, 1, 1)))),
    "pooled": lambda net, x: net.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4),
    "flipped": lambda net, x: net.op("Transpose", x, perm=[0, 1, 3, 2]),
    "concatenated": lambda net, x: net.conv(net.op("Concat", x, _reshaped(net, x), axis=1), 2 * CHANNELS, CHANNELS, 1),
    "averaged": lambda net, x: net.op("Add", x, net.op("ReduceMean", x, net.constant([1], np.int64), keepdims=1)),
    "reshaped": _reshaped,
    "gated": _gated,
}


@few(15)
@given(st.integers(0, 1000), st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=5))
def test_chain_of_ops(seed: int, chain: list[str]) -> None:
    """Float to 1e-5; int8 to 25 dB, since one step early in the chain is several steps at its end."""
    net = Net(seed, (CHANNELS, SIDE, SIDE))
    x = "input"
    for step in chain:
        x = STEPS[step](net, x)
    flat = net.op("Flatten", x, axis=1)
    calibration = net.inputs(64, seed=1)
    model = factories.normalised(net.model(net.gemm(flat, CHANNELS * SIDE * SIDE, 5)), calibration)
    samples = net.inputs(8, seed=2)
    assert float_distance(model, samples) <= 1e-5
    quantised = factories.quantize(model, calibration)
    built = build(quantised)
    assert built.compiled.notes == ()
    expected = factories.reference(quantised, samples)["logits"]
    noise = built.run(samples)["logits"] - expected
    assert 10 * np.log10(np.square(expected).mean() / max(np.square(noise).mean(), 1e-12)) >= 25
