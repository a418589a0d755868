import numpy as np
from onnx import helper

from edgekd.backends.reference import output_steps
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import find_scheme
from tests.quantization.onnx_models import model


def test_steps_are_the_scales_of_quantised_outputs() -> None:
    plain = model([helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Relu", ["n"], ["y"])], {})
    affines = {"x": Affine(0.5, 128), "y": Affine(0.25, 0)}
    assert output_steps(insert_activations(plain, affines, find_scheme("int8-asymmetric"))) == {"y": 0.25}
    assert output_steps(insert_activations(plain, affines, find_scheme("htp-w8a16"))) == {"y": 257 * 0.25}
    assert output_steps(model([helper.make_node("Relu", ["x"], ["y"])], {})) == {"y": None}


def test_an_output_of_one_scale_per_channel_has_no_step() -> None:
    operands = {"s": np.ones(3, np.float32), "z": np.zeros(3, np.int8)}
    nodes = [helper.make_node(kind, [x, "s", "z"], [y], axis=1) for kind, x, y in (
        ("QuantizeLinear", "x", "q"), ("DequantizeLinear", "q", "y"))]  # fmt: skip
    assert output_steps(model(nodes, operands)) == {"y": None}
