import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.float_fallback import asked_layers, float_layers
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import model, random

node = helper.make_node
X = random(4, 3, 6, 6, seed=9)


def convolved(*nodes: onnx.NodeProto, **values: np.ndarray) -> onnx.ModelProto:
    """A convolution, the given nodes from "a" to "b", another convolution."""
    first, last = node("Conv", ["x", "v"], ["a"], name="first"), node("Conv", ["b", "w"], ["y"], name="last")
    return model([first, *nodes, last], {"v": random(4, 3, 1, 1), "w": random(4, 4, 1, 1), **values})


def in_float(net: onnx.ModelProto, scheme: str = "int8-asymmetric", **options: list[str]) -> list[str]:
    return [str(layers) for layers in float_layers(calibrate(net, SCHEMES[scheme], [{"x": X}], **options))]


def test_a_network_of_integer_kernels_has_no_island() -> None:
    pads = {"p": np.array([0, 0, 1, 1, 0, 0, 0, 0])}
    relu, pad = node("Relu", ["a"], ["r"]), node("Pad", ["r", "p"], ["b"])
    assert in_float(convolved(relu, pad, **pads)) == []


def test_what_has_no_integer_kernel_is_named_with_what_follows_from_it() -> None:
    found = in_float(convolved(node("Erf", ["a"], ["e"], name="erf"), node("Elu", ["e"], ["b"], name="elu")))
    assert found == [
        "Erf in float at erf: between quantisers, but without an integer kernel in most runtimes",
        "Elu in float at elu: no quantiser at its input 'e', which Erf makes",
    ]


def test_kept_layers_are_named() -> None:
    found = in_float(convolved(node("Relu", ["a"], ["b"])), keep_float=["last"])
    assert found == ["Conv in float at last: its weight is not quantised"]


def test_products_with_a_constant_are_named() -> None:
    (found,) = in_float(convolved(node("Mul", ["a", "g"], ["b"], name="gain"), g=random(1, 4, 1, 1)))
    assert found == "Mul in float at gain: its constant operand is not quantised"


@pytest.mark.parametrize(("scheme", "count"), [("int8-asymmetric", 0), ("int8-symmetric", 1)])
def test_transposed_convolutions_are_integers_but_for_tensorrt(scheme: str, count: int) -> None:
    up = node("ConvTranspose", ["a", "u"], ["b"], name="up", strides=[2, 2])
    assert len(in_float(convolved(up, u=random(4, 4, 2, 2)), scheme)) == count


def test_what_follows_the_last_layers_is_one_note() -> None:
    layer, decode = node("Conv", ["x", "v"], ["a"]), node("Sigmoid", ["a"], ["b"], name="scores")
    net = model([layer, decode, node("Mul", ["b", "g"], ["y"], name="gain")], {"v": random(4, 3, 1, 1), "g": X[:1, :1]})
    assert in_float(net) == ["Tail in float at scores, gain: it follows the last layers"]


def test_asked_layers_are_counted_by_their_weights() -> None:
    quantized = calibrate(convolved(node("Relu", ["a"], ["b"])), SCHEMES["int8-asymmetric"], [{"x": X}], ["last"])
    assert asked_layers(quantized) == (1, 1)
