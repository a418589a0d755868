"""Every op of the table over random shapes: float32 against ONNX Runtime, and int8 with both sets of kernels.

Tolerances: those of float32 are told beside the cases; in int8 two steps with XNNPACK, and four with
TFLite's reference kernels, whose fixed-point arithmetic rounds once more on the way.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.backends.tflite.harness import build, distance, float_distance
from tests.backends.tflite.op_cases import FLOAT, FLOAT_TOLERANCE, INT8
from tests.properties import few


@pytest.mark.parametrize("op", sorted({**FLOAT, **INT8}))
@few(4)
@given(st.integers(0, 1000))
def test_float(op: str, seed: int) -> None:
    net, output = {**FLOAT, **INT8}[op](seed)
    assert float_distance(net.model(output), net.inputs(5, seed=1)) <= FLOAT_TOLERANCE[op]


@pytest.mark.parametrize("op", sorted(INT8))
@few(4)
@given(st.integers(0, 1000))
def test_int8(op: str, seed: int) -> None:
    net, output = INT8[op](seed)
    model = factories.quantize(net.model(output), net.inputs(64))
    x = factories.on_grid(model, net.inputs(5, seed=1))
    built, expected = build(model), factories.reference(model, x)
    assert built.compiled.notes == ()
    assert distance(built, expected, x, "reference") <= 4.01
    assert distance(built, expected, x, "xnnpack") <= 2.01
