"""Constants in fewer bits: which are stored so, and which keep theirs."""

import numpy as np
import pytest
from onnx import TensorProto

from tests import factories
from tests.backends.tflite.harness import Model, build
from tests.backends.tflite.test_forms import conv, weights
from tests.factories import Net


def stored(built: Model, kind: int) -> int:
    """How many tensors of a type the file holds that are constants."""
    return sum(each.type == kind and each.buffer > 0 for each in built.graph.tensors)


FLOAT, HALF, INT8 = 0, 1, 9


def agrees(built: Model, net: Net, model: object, rtol: float) -> None:
    x = net.inputs(5, seed=1)
    expected = factories.reference(model, x)["logits"]
    assert np.abs(built.run(x)["logits"] - expected).max() <= rtol * np.abs(expected).max()


@pytest.mark.parametrize(
    ("value", "halved"),
    [
        ([1.0, 2, 3], True),
        ([1.0, 2.0], True),
        (1.0, False),
        ([1.0], False),
        ([65504.0, 1, 2], True),
        ([65600.0, 1, 2], False),
    ],
)
def test_what_half_a_float_holds_is_stored_in_half(value: object, halved: bool) -> None:
    net = Net(0, np.shape(value) or (3,))
    model = net.model(net.op("Mul", "input", net.constant(value)))
    built = build(model, "float16")
    assert built.ops == (["DEQUANTIZE", "MUL"] if halved else ["MUL"])
    assert (stored(built, HALF), stored(built, FLOAT)) == ((1, 0) if halved else (0, 1))
    agrees(built, net, model, 1e-3)


def test_a_constant_that_two_read_is_widened_once_and_integers_stay() -> None:
    net = Net(0, (3, 4, 5))
    shared = weights(net, 5)
    model = net.model(net.op("Add", net.op("Mul", conv(net), shared), net.op("Sub", "input", shared)))
    built = build(model, "float16")
    assert sorted(built.ops) == ["ADD", "CONV_2D", "DEQUANTIZE", "DEQUANTIZE", "DEQUANTIZE", "MUL", "SUB"]
    assert stored(built, HALF) == 3
    agrees(built, net, model, 1e-2)


@pytest.mark.parametrize(("outputs", "narrow"), [(32, True), (31, False)])
@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D"])
def test_layers_of_1024_weights_store_integers(kind: str, outputs: int, narrow: bool) -> None:
    net = Net(0, (32,) if kind == "FULLY_CONNECTED" else (32, 3, 3))
    y = net.gemm("input", 32, outputs) if kind == "FULLY_CONNECTED" else net.conv("input", 32, outputs, kernel=1)
    model = net.model(y)
    built = build(model, "dynamic-range")
    assert (built.ops, stored(built, INT8)) == ([kind], int(narrow))
    options = built.graph.operators[0].builtinOptions
    assert getattr(options, "asymmetricQuantizeInputs", False) == (narrow and kind == "FULLY_CONNECTED")
    agrees(built, net, model, 0.02 if narrow else 1e-5)


def test_depthwise_layers_sums_and_fields_without_an_input_stay_float() -> None:
    net = Net(0, (128, 4, 4))
    model = net.model(net.op("Mul", net.conv("input", 128, 128, group=128), weights(net, 128, 4, 4)))
    built = build(model, "dynamic-range")
    assert (built.ops, stored(built, INT8)) == (["DEPTHWISE_CONV_2D", "MUL"], 0)


def looked_up(shape: tuple[int, ...], axis: int) -> tuple[Net, object]:
    net = Net(0, (3,))
    ids = net.op("Cast", net.op("Abs", net.op("Sign", "input")), to=TensorProto.INT64)
    return net, net.model(net.op("Gather", weights(net, *shape), ids, axis=axis))


@pytest.mark.parametrize(
    ("shape", "axis", "ops"),
    [
        ((2, 512), 0, ["GATHER", "GATHER", "CAST", "MUL"]),
        ((2, 511), 0, ["GATHER"]),
        ((512, 2), 1, ["GATHER"]),
        ((2, 32, 16), 0, ["GATHER"]),
    ],
)
def test_tables_of_1024_numbers_store_integers_by_row(shape: tuple[int, ...], axis: int, ops: list[str]) -> None:
    net, model = looked_up(shape, axis)
    built = build(model, "dynamic-range")
    assert built.ops[-len(ops) :] == ops
    assert stored(built, INT8) == int(len(ops) > 1)
    free = [tensor for tensor in built.graph.tensors if tensor.shapeSignature is not None]
    assert free
    assert all(len(tensor.shape) == len(tensor.shapeSignature) for tensor in free)
    x = net.inputs(5, seed=1)
    expected = factories.reference(model, x)["logits"]
    assert np.abs(built.run(x)["logits"] - expected).max() <= np.abs(expected).max() / 254 * 1.01


def test_other_precisions_store_what_the_model_holds() -> None:
    net = Net(0, (64,))
    built = build(net.model(net.gemm("input", 64, 64)), "float")
    assert (stored(built, INT8), stored(built, HALF)) == (0, 0)
