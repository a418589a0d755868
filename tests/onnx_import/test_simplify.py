"""Simplified models: which operations are left, and that they compute the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.onnx_graph import inferred
from edgekd.onnx_import.simplify import simplify
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
NUMBERS = {
    "weight": random(4, 3, 3, 3),
    "bias": random(4, seed=1),
    "row": random(1, 4, 1, 1, seed=2),
    "columns": random(4, seed=3)[:, None, None],
    "square": np.abs(random(4, seed=4)) + 1,
    "up": random(3, 4, 2, 2, seed=5),
    "three": np.float32(3),
    "one": np.ones(1, np.float32),
    "nil": np.float32(0),
    "map": random(1, 4, 4, 4, seed=6),
    **{f"i{number}": np.array([number]) for number in (-1, 0, 1, 2, 3)},
    "last": np.array([2**63 - 1]),
    "end": np.array([2**31 - 1]),
    "scalar": np.array(2),
    "flat": np.array([-1, 108]),
    "folded": np.array([-1, 3, 36]),
    "whole": np.array([-1, 3, 6, 6]),
}
CONV = node("Conv", ["x", "weight"], ["c"])
CASES = {
    # What is computed of sizes and constants alone
    "sizes": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "scalar"], ["h"], axis=0),
            node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["x", "f"], ["y"]),
        ],
        ["Mul"],
    ),
    "sizes beside a free one": (
        [
            node("Shape", ["x"], ["s"]),
            node("Cast", ["s"], ["s32"], to=TensorProto.INT32),
            node("Concat", ["s32", "s32"], ["twice"], axis=0),
            node("Slice", ["twice", "i2", "i3"], ["h"]),
            node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["x", "f"], ["y"]),
        ],
        ["Mul"],
    ),
    "the free size itself": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "i0"], ["n"], axis=0),
            node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["x", "f"], ["y"]),
        ],
        ["Shape", "Gather", "Cast", "Mul"],
    ),
    "weights": ([node("Exp", ["weight"], ["w"]), node("Conv", ["x", "w", "bias"], ["y"])], ["Conv"]),
    # What changes nothing
    "neutral": (
        [
            node("Identity", ["x"], ["a"]),
            node("Mul", ["one", "a"], ["b"]),
            node("Sub", ["b", "nil"], ["c"]),
            node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
            node("Reshape", ["d", "whole"], ["e"]),
            node("Slice", ["e", "i0", "end", "i0", "i1"], ["f"]),
            node("Relu", ["f"], ["y"]),
        ],
        ["Relu"],
    ),
    "not neutral": (
        [
            node("Sub", ["nil", "x"], ["a"]),
            node("Slice", ["a", "i-1", "i0", "i2", "i-1"], ["b"]),
            node("Slice", ["b", "i1", "end", "i0", "i1"], ["c"]),
            node("Slice", ["c", "i0", "i2", "i1", "i1"], ["d"]),
            node("Relu", ["d"], ["e"]),
            node("Slice", ["e", "i0", "i3", "i3", "i1"], ["y"]),
        ],
        ["Sub", "Slice", "Relu", "Slice"],
    ),
    # What undoes or repeats
    "reshapes": ([node("Reshape", ["x", "folded"], ["a"]), node("Reshape", ["a", "flat"], ["y"])], ["Reshape"]),
    "transposes": (
        [
            node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            node("Relu", ["b"], ["y"]),
        ],
        ["Relu"],
    ),
    "a transpose of ones": (
        [
            node("GlobalAveragePool", ["x"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
            node("Reshape", ["b", "i-1"], ["y"]),
        ],
        ["GlobalAveragePool", "Reshape"],
    ),
    "slices": (
        [
            node("Slice", ["x", "i0", "last", "i2", "i2"], ["a"]),
            node("Slice", ["a", "i1", "last", "i3", "i2"], ["b"]),
            node("Slice", ["a", "i0", "last", "i3", "i2"], ["c"]),
            node("Concat", ["b", "c"], ["y"], axis=1),
        ],
        ["Slice", "Slice", "Concat"],
    ),
    "the same twice": (
        [node("Sigmoid", ["x"], ["a"]), node("Sigmoid", ["x"], ["b"]), node("Add", ["a", "b"], ["y"])],
        ["Sigmoid", "Add"],
    ),
    "noise": (
        [
            node("RandomNormalLike", ["x"], ["a"]),
            node("RandomNormalLike", ["x"], ["b"]),
            node("Sub", ["a", "b"], ["c"]),
            node("RandomNormalLike", ["three"], ["d"]),
            node("Mul", ["c", "d"], ["e"]),
            node("Mul", ["e", "nil"], ["y"]),
        ],
        ["RandomNormalLike", "RandomNormalLike", "Sub", "RandomNormalLike", "Mul", "Mul"],
    ),
    # What a layer takes in
    "a bias": ([CONV, node("Add", ["row", "c"], ["y"])], ["Conv"]),
    "all of a block": (
        [
            CONV,
            node("Add", ["c", "columns"], ["a"]),
            node("BatchNormalization", ["a", "square", "bias", "bias", "square"], ["b"]),
            node("Mul", ["b", "three"], ["m"]),
            node("Add", ["m", "one"], ["y"]),
        ],
        ["Conv"],
    ),
    "a transposed convolution": (
        [
            node("ConvTranspose", ["x", "up", "bias"], ["c"], strides=[2, 2]),
            node("Mul", ["c", "row"], ["m"]),
            node("Add", ["m", "columns"], ["y"]),
        ],
        ["ConvTranspose"],
    ),
    "a map is no bias": ([CONV, node("Add", ["c", "map"], ["y"])], ["Conv", "Add"]),
    "a layer that others read": (
        [CONV, node("Add", ["c", "row"], ["a"]), node("Mul", ["a", "c"], ["y"])],
        ["Conv", "Add", "Mul"],
    ),
}


def network(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """From x (N, 3, 6, 6) to y, whose shape is inferred."""
    made = model(nodes, NUMBERS)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return inferred(made)


@pytest.mark.parametrize(("nodes", "left"), CASES.values(), ids=list(CASES))
def test_what_is_left_computes_the_same(nodes, left):
    given = network(nodes)
    before = given.SerializeToString()
    found = simplify(given)
    assert kinds(found) == left
    assert given.SerializeToString() == before
    onnx.checker.check_model(found)
    inputs = {"x": random(3, 3, 6, 6, seed=7)}
    wanted = Reference(given).run(inputs)["y"]
    np.testing.assert_allclose(Reference(found).run(inputs)["y"], wanted, rtol=1e-5, atol=1e-5)  # sums of float32


def test_layers_keep_the_names_of_the_file():
    nodes = [node("Conv", ["x", "weight"], ["c"], name="stem"), node("Add", ["c", "row"], ["y"], name="shift")]
    (conv,) = simplify(network(nodes)).graph.node
    assert (conv.name, list(conv.output)) == ("stem", ["y"])


def chosen(name: str, condition: str, then: str, otherwise: str) -> onnx.NodeProto:
    """Two operations of which one is taken; both branches call what they make the same."""
    graphs = [
        helper.make_graph([node(kind, ["x"], ["inner"]), node("Neg", ["inner"], ["made"])], "b", [], [_float("made")])
        for kind in (then, otherwise)
    ]
    return node("If", [condition], [name], then_branch=graphs[0], else_branch=graphs[1])


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_branches_that_sizes_decide_go_one_after_the_other():
    """What the second one asks for is known only once the first is gone; both define the same names."""
    nodes = [
        node("Shape", ["x"], ["s"], start=1, end=2),
        node("Equal", ["s", "i3"], ["is3"]),
        chosen("a", "is3", "Relu", "Tanh"),
        node("Shape", ["a"], ["sa"], start=2, end=3),
        node("Equal", ["sa", "i3"], ["is6"]),
        chosen("b", "is6", "Exp", "Abs"),
        node("Add", ["a", "b"], ["y"]),
    ]
    found = simplify(network(nodes))
    assert kinds(found) == ["Relu", "Neg", "Abs", "Neg", "Add"]
    x = random(2, 3, 6, 6)
    wanted = -np.maximum(x, 0) - np.abs(x)
    np.testing.assert_array_equal(Reference(found).run({"x": x})["y"], wanted)


def test_a_branch_that_nothing_decides_stays():
    nodes = [
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Greater", ["m", "nil"], ["positive"]),
        chosen("y", "positive", "Relu", "Tanh"),
    ]
    assert kinds(simplify(network(nodes))) == ["ReduceMax", "Greater", "If"]
