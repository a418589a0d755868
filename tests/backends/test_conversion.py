"""Values and axes survive the way into a bundle and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.bundle import TensorSpec

QUANTISED: dict[str, Any] = {"name": "x", "dtype": "int8", "shape": (None, 4)}


def test_nhwc_and_back() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 4, 5, 3), layout="NHWC")
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    stored = to_bundle(spec, array)
    assert stored.shape == (2, 4, 5, 3)
    assert stored.flags.c_contiguous
    assert stored[1, 2, 3, 0] == array[1, 0, 2, 3]
    np.testing.assert_array_equal(from_bundle(spec, stored), array)


def test_plain_tensors_are_kept() -> None:
    spec = TensorSpec(name="x", dtype="int64", shape=(None, 4))
    array = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(from_bundle(spec, to_bundle(spec, array)), array)


@given(
    st.integers(-128, 127), st.floats(2**-20, 2**10, width=32), st.lists(st.integers(-128, 127), min_size=4, max_size=4)
)
def test_every_stored_value_survives(zero_point: int, scale: float, values: list[int]) -> None:
    spec = TensorSpec(**QUANTISED, scale=scale, zero_point=zero_point)
    stored = np.array([values], np.int8)
    np.testing.assert_array_equal(to_bundle(spec, from_bundle(spec, stored)), stored)


@given(
    st.integers(-128, 127),
    st.floats(2**-10, 2**7, width=32),
    st.lists(st.floats(-(2**14), 2**14, width=32), min_size=4, max_size=4),
)
def test_it_quantises_as_onnx_does(zero_point: int, scale: float, values: list[float]) -> None:
    spec = TensorSpec(**QUANTISED, scale=scale, zero_point=zero_point)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    feeds = {"x": np.array([values], np.float32), "s": np.float32(scale), "z": np.int8(zero_point)}
    (expected,) = ReferenceEvaluator(node).run(None, feeds)
    np.testing.assert_array_equal(to_bundle(spec, feeds["x"]), np.asarray(expected))


@pytest.mark.parametrize(("value", "stored"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (1e9, 127), (-1e9, -128)])
def test_half_to_even_and_saturating(value: float, stored: int) -> None:
    spec = TensorSpec(**QUANTISED, scale=1.0, zero_point=0)
    assert to_bundle(spec, np.array([[value]], np.float32))[0, 0] == stored
