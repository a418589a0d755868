"""Forms that a model of one batch size may have, and NPUs take: TRANSPOSE_CONV, windows without a large stride."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends.compiled import Compiled
from edgekd.backends.tflite.convert import convert
from edgekd.onnx_graph import at_batch, inferred
from edgekd.target import load_target
from tests import factories
from tests.backends.tflite.harness import Model, build, distance
from tests.backends.tflm.harness import both
from tests.factories import Net

OWN, CUT, SHUFFLED = "TRANSPOSE_CONV", "TRANSPOSE_CONV STRIDED_SLICE", "PAD CONV_2D DEPTH_TO_SPACE STRIDED_SLICE"
# kernel, stride, options, what it becomes
GEOMETRIES: list[tuple[int, int, dict[str, Any], str]] = [
    (2, 2, {}, OWN),
    (4, 2, {"pads": [1] * 4}, OWN),
    (4, 2, {}, OWN),
    (3, 2, {"pads": [0, 0, 1, 1]}, OWN),
    (3, 2, {"pads": [1] * 4, "output_padding": [1, 1]}, CUT),
    (3, 2, {"pads": [1] * 4}, CUT),
    (3, 2, {"dilations": [2, 2]}, OWN),
    (2, 3, {}, CUT),
    (3, 3, {}, OWN),
    (3, 2, {"group": 2}, f"DEQUANTIZE {OWN}"),  # scales of one group only
    (3, 2, {"output_padding": [1, 1]}, SHUFFLED.removesuffix(" STRIDED_SLICE")),  # beyond what the kernel reaches
    (3, 1, {"pads": [1] * 4}, "CONV_2D"),
]


def spread(kernel: int, stride: int, options: dict[str, Any]) -> tuple[Net, onnx.ModelProto]:
    """A transposed convolution, with a bias where it has one group, and a ReLU whose zero lies within its grid."""
    net, groups = Net(1, (4, 6, 7)), options.get("group", 1)
    weight = net.constant(net.rng.normal(0, 0.3, (4, 6 // groups, kernel, kernel)))
    bias = [net.constant(net.rng.normal(0, 0.3, 6))] if groups == 1 else []
    made = net.op("ConvTranspose", "input", weight, *bias, strides=[stride] * 2, **options)
    return net, net.model(net.op("Concat", net.relu(made), made, axis=1))


def fixed(model: onnx.ModelProto, batch: int = 1) -> onnx.ModelProto:
    return inferred(at_batch(model, batch))


@pytest.mark.parametrize(("kernel", "stride", "options", "ops"), GEOMETRIES)
def test_transposed_convolutions(kernel: int, stride: int, options: dict[str, Any], ops: str) -> None:
    """In int8 as in float; two steps: the layer rounds once, and the join that follows it rounds again."""
    net, model = spread(kernel, stride, options)
    quantised = factories.quantize(model, net.inputs(32))
    built, x = build(fixed(quantised)), net.inputs(1, seed=5)
    assert " ".join(built.ops).startswith(f"QUANTIZE {ops} ")
    for kernels in ("xnnpack", "reference"):
        assert distance(built, factories.reference(quantised, x), x, kernels) <= 2.01
    expected = factories.reference(model, x)["logits"]
    np.testing.assert_allclose(build(fixed(model), "float").run(x)["logits"], expected, atol=1e-5)


def test_a_hard_swish_in_parts_is_the_same() -> None:
    """In float, of a file with a fixed batch: five roundings of float32."""
    net = Net(2, (4, 5, 5))
    model = fixed(net.model(net.op("HardSwish", "input")))
    made = convert(model, load_target("x86-tflite"), "float", fixed_batch=True)
    x = net.inputs(1, seed=3) * 4
    shown = Model(made.content, Compiled("", (), made.inputs, made.outputs), {})
    assert "HARD_SWISH" not in shown.ops
    np.testing.assert_allclose(shown.run(x)["logits"], factories.reference(model, x)["logits"], atol=1e-6)


def test_every_sample_of_the_batch_is_spread() -> None:
    """float32: sums in another order, of values up to ten."""
    net, model = spread(4, 2, {"pads": [1] * 4})
    x = net.inputs(3, seed=5)
    found = build(fixed(model, 3), "float", batch=3).run(x)["logits"]
    np.testing.assert_allclose(found, factories.reference(model, x)["logits"], atol=1e-5)


@pytest.mark.parametrize("options", [{"pads": [1] * 4}, {}])
def test_microcontrollers_agree_with_the_reference_kernels(options: dict[str, Any]) -> None:
    net, model = spread(3, 2, options)
    micro, reference = both(factories.quantize(model, net.inputs(32)), net.inputs(4, seed=3))
    np.testing.assert_array_equal(micro[0], reference[0])
    assert len(np.unique(micro[0])) > 8, "an output that hardly moves proves nothing"


def test_the_mean_of_a_whole_map_has_a_window_that_does_not_move() -> None:
    net = Net(1, (4, 6, 5))
    model = net.model(net.op("AveragePool", net.conv("input", 4, 4), kernel_shape=[6, 5], strides=[6, 5]))
    quantised, x = factories.quantize(model, net.inputs(32)), net.inputs(4, seed=5)
    built = build(quantised)
    pool = built.graph.operators[built.ops.index("DEPTHWISE_CONV_2D")].builtinOptions
    assert (pool.strideH, pool.strideW) == (1, 1)
    assert distance(built, factories.reference(quantised, x), x, "xnnpack") <= 2.01
