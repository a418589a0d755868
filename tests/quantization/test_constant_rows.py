"""States that are the same for each sample become one row; the network gives the same numbers for any batch."""

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper

from edgekd.backends.reference import Reference
from edgekd.quantization.clean import clean
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
VALUES = {
    "eight": np.array([8]), "two": np.array([2]), "zero": np.array([0]), "one": np.array([1]),
    "half": np.array(0.5, np.float32), "w": random(8, 8), "v": random(6, 8),
    "row": random(8, seed=3), "rows": random(1, 8, seed=4), "five": random(5, 8, seed=5), "many": np.array([99]),
}  # fmt: skip
SIZE = [node("Shape", ["x"], ["n"], end=1)]  # of the batch
FIRST = [*SIZE, node("Concat", ["n", "eight"], ["sizes"], axis=0), node("ConstantOfShape", ["sizes"], ["zeros"])]
SECOND = [
    *SIZE, node("Concat", ["two", "n", "eight"], ["sizes"], axis=0), node("Expand", ["half", "sizes"], ["states"]),
    node("Slice", ["states", "zero", "one", "zero"], ["layer"]), node("Squeeze", ["layer", "zero"], ["state"]),
]  # fmt: skip
EXPANDED = [
    *SIZE, node("Concat", ["n", "eight"], ["sizes"], axis=0), node("Expand", ["rows", "sizes"], ["states"]),
]  # fmt: skip
STEP = [node("MatMul", ["x", "v"], ["seen"])]


def shrunk(nodes: list[NodeProto]) -> list[str]:
    """What is left of a network of x (N, 6), which computes the same for one sample and for five."""
    net = model(nodes, VALUES, ("N", 6), output_rank=2)
    after = clean(net)
    onnx.checker.check_model(after, full_check=True)
    for count in (1, 5):
        x = random(count, 6, seed=count)
        expected, found = (Reference(each).run({"x": x})["y"] for each in (net, after))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32, sums in another order
    return kinds(after)


@pytest.mark.parametrize(
    "nodes",
    [
        [*FIRST, node("MatMul", ["zeros", "w"], ["h"]), node("Add", ["seen", "h"], ["y"])],
        [*FIRST, node("CastLike", ["zeros", "x"], ["h"]), node("Sub", ["h", "seen"], ["y"])],
        [*FIRST, node("Exp", ["zeros"], ["e"]), node("Add", ["e", "row"], ["h"]), node("Mul", ["h", "seen"], ["y"])],
        [*SECOND, node("MatMul", ["state", "w"], ["h"]), node("Add", ["seen", "h"], ["y"])],
        [*SECOND, node("Unsqueeze", ["state", "zero"], ["u"]), node("MatMul", ["u", "w"], ["h"]),
         node("Squeeze", ["h", "zero"], ["s"]), node("Add", ["s", "seen"], ["y"])],
        [*SECOND, node("Transpose", ["state"], ["t"], perm=[1, 0]), node("Transpose", ["t"], ["h"], perm=[1, 0]),
         node("Add", ["h", "seen"], ["y"])],
        [*SECOND, node("Transpose", ["state"], ["t"], perm=[1, 0]), node("MatMul", ["w", "t"], ["u"]),
         node("Transpose", ["u"], ["h"], perm=[1, 0]), node("Add", ["h", "seen"], ["y"])],
        [*EXPANDED, node("Add", ["states", "seen"], ["y"])],
        [*EXPANDED, node("Concat", ["states", "states"], ["h"], axis=1),
         node("Concat", ["seen", "seen"], ["u"], axis=1), node("Mul", ["h", "u"], ["y"])],
    ],
)  # fmt: skip
def test_arithmetic_with_a_batch_repeats_a_row_by_itself(nodes: list[NodeProto]) -> None:
    assert not {"Shape", "Expand", "ConstantOfShape"} & set(shrunk([*STEP, *nodes]))


@pytest.mark.parametrize(
    "nodes",
    [
        [*FIRST, node("Identity", ["zeros"], ["y"])],  # an output has a row for each
        [*FIRST, node("Concat", ["zeros", "seen"], ["y"], axis=0)],
        [*FIRST, node("Concat", ["zeros", "seen"], ["y"], axis=1)],
        [*FIRST, node("Transpose", ["zeros"], ["t"], perm=[1, 0]), node("MatMul", ["t", "seen"], ["y"])],
        [*FIRST, node("ReduceSum", ["zeros", "zero"], ["s"]), node("Add", ["s", "seen"], ["y"])],
        [*SIZE, node("Concat", ["n", "eight"], ["sizes"], axis=0), node("Expand", ["seen", "sizes"], ["y"])],
        [*SIZE, node("Concat", ["n", "eight"], ["sizes"], axis=0), node("Expand", ["five", "sizes"], ["h"]),
         node("Add", ["h", "seen"], ["y"])],
        # What is as large for any batch
        [*FIRST, node("ReduceMax", ["seen", "zero"], ["h"]), node("Add", ["zeros", "h"], ["y"])],
        [*FIRST, node("ReduceMax", ["seen", "zero"], ["h"], keepdims=0), node("Add", ["zeros", "h"], ["y"])],
        # A batch twice, the rest of a batch, a sum over it
        [*EXPANDED, node("Concat", ["states", "states"], ["h"], axis=0),
         node("Concat", ["seen", "seen"], ["u"], axis=0), node("Mul", ["h", "u"], ["y"])],
        [*EXPANDED, node("Slice", ["states", "one", "many", "zero"], ["h"]),
         node("Slice", ["seen", "one", "many", "zero"], ["u"]), node("Mul", ["h", "u"], ["y"])],
        [*EXPANDED, node("Transpose", ["states"], ["t"], perm=[1, 0]), node("MatMul", ["t", "states"], ["h"]),
         node("MatMul", ["seen", "h"], ["y"])],
    ],
)  # fmt: skip
def test_what_else_reads_it_leaves_it_as_it_is(nodes: list[NodeProto]) -> None:
    assert {"Expand", "ConstantOfShape"} & set(shrunk([*STEP, *nodes]))
