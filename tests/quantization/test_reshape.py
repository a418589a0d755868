"""Computed Reshape targets, watched at two batch sizes."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.reference import Reference
from edgekd.quantization.reshape import fix_reshapes
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node


def reshaped(tail: list[int], shape: tuple[int | str, ...] = ("N", 3, 4), rank: int = 2) -> onnx.ModelProto:
    """A Reshape of x to its batch (times two where it is doubled) and a tail, computed from the shape of x."""
    nodes = [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Concat", ["s", "tail"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["y"], allowzero=1),
    ]
    return model(nodes, {"tail": np.array(tail)}, shape, output_rank=rank)


@pytest.mark.parametrize(
    ("net", "target"),
    [
        (reshaped([12]), [-1, 12]),
        (reshaped([-1]), [-1, 12]),
        (reshaped([4, 3], rank=3), [-1, 4, 3]),
        (reshaped([12], shape=(5, 3, 4)), [5, 12]),
        (reshaped([2, 6], shape=(1, 3, 4), rank=3), [1, 2, 6]),
    ],
)
def test_a_target_is_constant_but_for_the_batch(net: onnx.ModelProto, target: list[int]) -> None:
    fixed = fix_reshapes(net)
    assert kinds(fixed) == ["Reshape"]
    assert constants(fixed)["y_shape"].tolist() == target
    assert {entry.name: entry.i for entry in fixed.graph.node[0].attribute} == {"allowzero": 0}
    batch = net.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 7
    x = {"x": random(batch, 3, 4)}
    np.testing.assert_array_equal(Reference(fixed).run(x)["y"], Reference(net).run(x)["y"])


def test_a_target_with_the_batch_in_two_places_stays() -> None:
    nodes = [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Concat", ["s", "s", "rest"], ["t"], axis=0),
        node("MatMul", ["x", "turned"], ["p"]),
        node("Reshape", ["p", "t"], ["y"]),
    ]
    square = model(
        [node("Transpose", ["x"], ["turned"], perm=[1, 0]), *nodes], {"rest": np.array([1])}, ("N", 4), output_rank=3
    )
    assert kinds(fix_reshapes(square)).count("Concat") == 1


def test_constant_targets_and_inputs_of_unknown_sizes_stay() -> None:
    constant = model([node("Reshape", ["x", "t"], ["y"])], {"t": np.array([0, -1])}, ("N", 3, 4), output_rank=2)
    assert fix_reshapes(constant) is constant
    unknown = reshaped([-1], shape=("N", "L", 4))
    assert fix_reshapes(unknown) is unknown
    assert kinds(fix_reshapes(reshaped([12]))) == ["Reshape"]


def test_of_several_reshapes_each_has_its_own_target_and_integers_count_too() -> None:
    nodes = [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Concat", ["s", "one"], ["t"], axis=0),
        node("Concat", ["s", "two"], ["u"], axis=0),
        node("Reshape", ["x", "t"], ["a"]),
        node("Reshape", ["a", "u"], ["y"]),
    ]
    net = model(nodes, {"one": np.array([12]), "two": np.array([2, 6])}, ("N", 3, 4), output_rank=3)
    net.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    net.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    found = constants(fix_reshapes(net))
    assert (found["a_shape"].tolist(), found["y_shape"].tolist()) == ([-1, 12], [-1, 2, 6])
