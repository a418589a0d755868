"""What is done where int8 is far from float."""

import numpy as np
import pytest
from onnx import helper

from edgekd.onnx_graph import Graph
from edgekd.pipeline.parity_evidence import Expected, in_float
from edgekd.pipeline.refined import widen_where_far
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.qdq import declared_scheme
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import model, random

NARROW = SCHEMES["htp-w8a8"]


@pytest.mark.parametrize(("spread", "wide"), [(1.0, False), (3000.0, True)])
def test_activations_get_more_bits_where_eight_are_far_from_float(spread: float, wide: bool) -> None:
    """One channel dwarfs the others, which alone the next layer reads: eight bits hold nothing of them."""
    gains, weight = np.array([spread, 1, 1], np.float32), random(2, 3, 1, 1)
    weight[:, 0] = 0
    nodes = [helper.make_node("Mul", ["x", "gains"], ["a"]), helper.make_node("Conv", ["a", "l.weight"], ["y"])]
    plain, inputs = model(nodes, {"gains": gains.reshape(3, 1, 1), "l.weight": weight}), {"x": random(8, 3, 6, 6)}
    calibrator = Calibrator(plain, [inputs])
    int8 = Expected.of(calibrator.quantized(NARROW), inputs, in_float(plain, inputs))
    found = widen_where_far(calibrator, NARROW, int8, ())
    assert (found is not None) is wide
    if found is not None:
        assert (declared_scheme(found.expected.model), found.scheme.name) == ("htp-w8a16", "htp-w8a16")
        assert found.before.db < 21 < found.after.db
        assert "activations of 16 bits (htp-w8a16) give" in str(found)
        stored = [value for name, value in Graph(found.expected.model).constants.items() if "zero_point" in name]
        assert "uint16" in {str(value.dtype) for value in stored}


def test_a_scheme_without_a_wider_one_stays() -> None:
    plain = model([helper.make_node("Relu", ["x"], ["y"])], {})
    calibrator, inputs = Calibrator(plain, [{"x": random(4, 3, 6, 6)}]), {"x": random(4, 3, 6, 6)}
    scheme = SCHEMES["int8-asymmetric"]
    int8 = Expected.of(calibrator.quantized(scheme), inputs, in_float(plain, inputs))
    assert widen_where_far(calibrator, scheme, int8, ()) is None
