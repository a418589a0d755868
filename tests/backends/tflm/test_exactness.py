"""Bit for bit: TFLite-Micro computes what LiteRT's reference kernels compute, and the reference within 4 steps."""

from collections.abc import Callable

import numpy as np
import pytest

from edgekd.backends.conversion import to_bundle
from edgekd.backends.tflite.convert import convert
from edgekd.backends.tflite.flatbuffer import unpack
from tests import factories
from tests.backends.tflite.test_architectures import NETS, made
from tests.backends.tflm.harness import TARGET, Array, both, by_micro, by_reference_kernels
from tests.factories import Net

ALLOWED_STEPS = 4


def leaky(net: Net) -> tuple[str, ...]:
    return (net.op("LeakyRelu", net.conv("input", 3, 8), alpha=0.1),)


def pooled(net: Net) -> tuple[str, ...]:
    x = net.relu6(net.conv("input", 3, 8, dilations=[2, 2], pads=[2] * 4))
    return (net.op("GlobalAveragePool", net.op("Add", x, net.conv(x, 8, 8, group=8))),)


def resized(net: Net) -> tuple[str, ...]:
    scales = net.constant([1, 1, 2, 2])
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return (net.op("Sigmoid", net.op("Resize", net.conv("input", 3, 8, group=1), "", scales, **options)),)


WITHOUT_FULLY_CONNECTED: dict[str, Callable[[Net], tuple[str, ...]]] = {
    **{name: NETS[name][1] for name in ("gated", "u-net", "detector")},
    "leaky": leaky,
    "pooled": pooled,
    "resized": resized,
}


@pytest.mark.parametrize("name", sorted(WITHOUT_FULLY_CONNECTED))
def test_reference_kernels_agree_bit_for_bit(name: str) -> None:
    net = Net(1, (3, 16, 16))
    outputs = WITHOUT_FULLY_CONNECTED[name](net)
    model = net.model(*outputs, names=tuple(f"out{i}" for i in range(len(outputs))))
    micro, reference = both(factories.quantize(model, net.inputs(32)), net.inputs(20, seed=3))
    assert len(micro) == len(outputs)
    for found, expected in zip(micro, reference, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert len(np.unique(found)) > 8, "an output that hardly moves proves nothing"


def test_a_sequence_may_be_transposed_first() -> None:
    net, outputs = made("sequence")
    micro, reference = both(factories.quantize(net.model(*outputs), net.inputs(32)), net.inputs(20, seed=3))
    assert np.abs(micro[0].astype(int) - reference[0]).max() <= 1  # it ends in a fully connected layer: see below


def test_a_fully_connected_layer_rounds_twice() -> None:
    """As the reference kernels are written; LiteRT's own has come to round once: one step in some hundred values."""
    model = factories.qdq_dscnn()
    converted = convert(model, TARGET, "int8", fixed_batch=True)
    graph = unpack(converted.content)
    op, tensors = graph.subgraphs[0].operators[-1], graph.subgraphs[0].tensors
    x, weights, bias = (tensors[index] for index in op.inputs)
    stored = to_bundle(converted.inputs[0], factories.inputs_for(model, 300))
    features, once = by_reference_kernels(converted.content, stored, [op.inputs[0], op.outputs[0]])

    def data(tensor: object, kind: str) -> Array:
        return np.frombuffer(bytes(graph.buffers[tensor.buffer].data), kind).astype(np.int64)  # type: ignore[attr-defined]

    matrix = data(weights, "int8").reshape(weights.shape)
    centred = features.reshape(len(stored), -1).astype(np.int64) - x.quantization.zeroPoint[0]
    output = tensors[op.outputs[0]].quantization
    ratios = x.quantization.scale.astype(np.float64) * weights.quantization.scale / output.scale.astype(np.float64)
    sums = centred @ matrix.T + data(bias, "int32")
    twice = np.stack([rounded_twice(column, ratio) for column, ratio in zip(sums.T, ratios, strict=True)], axis=1)
    (found,) = by_micro(converted.content, stored)
    np.testing.assert_array_equal(found, np.clip(twice + output.zeroPoint[0], -128, 127))
    assert np.abs(found.astype(int) - once).max() == 1


def rounded_twice(sums: Array, ratio: float) -> Array:
    """sums × ratio in fixed point: to 31 bits, then by a shift (Jacob et al., arXiv:1712.05877, section 2.2)."""
    fraction, exponent = np.frexp(ratio)
    product = sums * int(np.rint(fraction * 2**31))
    high = np.where(product >= 0, (product + 2**30) >> 31, -((2**30 - 1 - product) >> 31))
    shift = -int(exponent)
    assert shift > 0
    remainder = high & (2**shift - 1)
    return (high >> shift) + (remainder > (2**shift - 1) // 2 + (high < 0))


@pytest.mark.parametrize("make", [factories.qdq_resnet, factories.qdq_mobilenet, factories.qdq_dscnn])
def test_a_whole_net_is_within_four_steps_of_the_reference(make: Callable[[], object]) -> None:
    """Double rounding in every layer; LiteRT on the same model needs 2."""
    model = make()
    x = factories.inputs_for(model, 100)
    (found,), _ = both(model, x)
    spec = convert(model, TARGET, "int8", fixed_batch=True).outputs[0]
    expected = to_bundle(spec, factories.reference(model, x)["logits"])
    assert np.abs(found.astype(int) - expected).max() <= ALLOWED_STEPS
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.95
