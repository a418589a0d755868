"""Ops that order elements, pick them by indices or replace them: against ONNX Runtime, at another batch than built for.

In float32 they move values and add two of them: within a rounding.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from tests import factories
from tests.backends.tflite.harness import build, float_distance
from tests.factories import Net

ROUNDING = 1e-6


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def top_k(net: Net, x: str, count: int, **attributes: int) -> tuple[str, str]:
    """The values and their places."""
    values = net.op("TopK", x, integers(net, count), **attributes)
    net.nodes[-1].output.append(f"{values}_places")
    return values, f"{values}_places"


def number(net: Net, places: str) -> str:
    return net.op("Cast", places, to=TensorProto.FLOAT)


def apart(net: Net, *outputs: str) -> float:
    model = net.model(*outputs, names=tuple(f"out{i}" for i in range(len(outputs))))
    return float_distance(model, net.inputs(5, seed=1))


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((7,), -1), ((3, 6), 2), ((6, 3), 1), ((2, 5, 4), 2), ((4, 3, 5), 1)])
def test_top_k_makes_values_and_places(shape: tuple[int, ...], axis: int, largest: int) -> None:
    net = Net(0, shape)
    values, places = top_k(net, "input", 3, axis=axis, largest=largest)
    assert apart(net, values, number(net, places)) <= ROUNDING


@pytest.mark.parametrize("read", [0, 1])
def test_one_output_of_top_k_may_go_unread(read: int) -> None:
    net = Net(0, (9,))
    found = top_k(net, "input", 4)[read]
    model = net.model(number(net, found))
    assert build(model, "float").ops == ["TOPK_V2", "CAST"]
    assert float_distance(model, net.inputs(5, seed=1)) <= ROUNDING


def test_places_of_equal_values_rise() -> None:
    net = Net(0, (6,))
    _, places = top_k(net, net.op("Sign", "input"), 6)
    assert apart(net, number(net, places)) == 0


def test_places_may_leave_the_network_under_another_name() -> None:
    net = Net(0, (6,))
    values, places = top_k(net, "input", 2)
    copy = net.op("Identity", net.op("Cast", places, to=TensorProto.INT32))
    model = net.model(net.op("Neg", values), number(net, copy), names=("values", "places"))
    assert float_distance(model, net.inputs(5, seed=1)) == 0


def test_boxes_of_the_best_scores_are_picked() -> None:
    """As detectors without suppression end: class and place come of one index, boxes are gathered by place."""
    net = Net(0, (6, 12))  # four coordinates and two classes of each place
    boxes, scores = (
        net.op("Slice", "input", *(integers(net, each) for each in (*ends, 1))) for ends in ((0, 4), (4, 6))
    )
    flat = net.op("Flatten", net.op("Transpose", scores, perm=[0, 2, 1]))
    best, index = top_k(net, flat, 5)
    places = net.op("Div", index, integers(net, 2))
    wide = net.op("Tile", net.op("Unsqueeze", places, integers(net, 2)), integers(net, 1, 1, 4))
    found = net.op("GatherElements", net.op("Transpose", boxes, perm=[0, 2, 1]), wide, axis=1)
    assert apart(net, found, best) <= ROUNDING


@pytest.mark.parametrize(("shape", "axis"), [((7,), 1), ((3, 6), 1), ((3, 6), 2), ((2, 5, 4), 2), ((3, 5, 4), 1)])
def test_elements_are_gathered_along_any_axis(shape: tuple[int, ...], axis: int) -> None:
    net = Net(0, shape)
    _, order = top_k(net, net.op("Neg", "input"), shape[axis - 1], axis=axis)
    assert apart(net, net.op("GatherElements", net.op("Abs", "input"), order, axis=axis)) <= ROUNDING


def test_indices_that_are_constant_may_count_from_the_end() -> None:
    net = Net(0, (2, 3))
    model = net.model(net.op("GatherElements", "input", net.constant([[[0, -1, 2], [1, 1, -2]]], np.int64), axis=2))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert float_distance(model, net.inputs(1, seed=1)) == 0


def test_rows_of_each_sample_are_gathered_by_pairs() -> None:
    net = Net(0, (3, 4, 2))
    rows = net.op("ArgMax", "input", axis=1, keepdims=0)  # (N, 4, 2) of 0 to 2: row and, of four, column
    found = net.op("GatherND", "input", rows, batch_dims=1)
    single = net.op(
        "GatherND", "input", net.op("Slice", rows, *(integers(net, each) for each in (0, 1, 2))), batch_dims=1
    )
    assert apart(net, found, single) <= ROUNDING


def test_elements_of_a_table_are_gathered_by_pairs() -> None:
    net = Net(0, (4, 3))
    table = net.constant(net.rng.normal(0, 1, (4, 4, 2)))
    pairs = net.op("Slice", net.op("ArgMax", "input", axis=1, keepdims=0), *(integers(net, each) for each in (0, 2, 1)))
    assert apart(net, net.op("GatherND", table, pairs)) <= ROUNDING


@pytest.mark.parametrize("indices", [[[1], [3]], [[-1], [0]], [[2], [2]]])
def test_rows_are_replaced_by_constant_indices(indices: list[list[int]]) -> None:
    """As exporters write x[:, [1, 3]] = y; of two for one place the last one stays."""
    net = Net(0, (4, 5))
    turned = net.op("Transpose", "input", perm=[1, 0, 2])
    some = net.op("Slice", net.op("Exp", turned), *(integers(net, each) for each in (0, 2, 0)))
    made = net.op("ScatterND", turned, net.constant(indices, np.int64), some)
    assert apart(net, net.op("Transpose", made, perm=[1, 0, 2])) <= ROUNDING


def test_elements_are_replaced_by_constant_pairs() -> None:
    net = Net(0, (4, 5))
    turned = net.op("Transpose", "input", perm=[1, 2, 0])
    some = net.op("ReduceMax", turned, integers(net, 0), keepdims=0)  # (5, N)
    pairs = net.constant([[0, 4], [3, 0], [1, 1], [2, 2], [0, 0]], np.int64)
    assert apart(net, net.op("Transpose", net.op("ScatterND", turned, pairs, some), perm=[2, 0, 1])) <= ROUNDING


def test_values_of_a_quantised_network_are_ordered_in_float() -> None:
    net = Net(0, (6,))
    model = factories.quantize(net.model(net.gemm("input", 6, 8), names=("scores",)), net.inputs(32))
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "count"))
    model.graph.node.append(helper.make_node("TopK", ["scores", "count"], ["values", "places"], name="best"))
    model.graph.output.append(helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, 3]))
    built, x = build(model), factories.on_grid(model, net.inputs(8, seed=1))
    assert built.compiled.notes == (
        "float island: node 'best' (TopK): its output is not read by exactly one QuantizeLinear",
    )
    step = built.steps["scores"]
    assert step is not None
    values = factories.reference(model, x)["values"]
    assert np.abs(built.run(x)["values"] - values).max() <= 1.01 * step  # of the layer, as any net


@pytest.mark.parametrize(
    ("kind", "operands", "attributes", "reason"),
    [
        ("TopK", [[1]], {"axis": 0}, "it compares the samples of a batch"),
        ("GatherElements", [[[0], [0]]], {"axis": 1}, "its indices reach only a part"),
        ("Gather", [-1], {}, "its indices count from the end of the batch"),
        ("GatherND", [[-1]], {}, "its indices count from the end of the batch"),
        ("ScatterND", [[[0]], "input"], {}, "its indices reach over the batch"),
        ("ScatterND", [[[0]], "input"], {"reduction": "add"}, "attribute reduction=add"),
    ],
)
def test_what_has_no_form_is_named(
    kind: str, operands: list[object], attributes: dict[str, object], reason: str
) -> None:
    net = Net(0, (4,))
    names = [each if isinstance(each, str) else net.constant(each, np.int64) for each in operands]
    made = net.op(kind, "input", *names, **attributes)
    net.nodes[-1].output.extend(["places"] if kind == "TopK" else [])
    with pytest.raises(BadInputError, match=rf"node '{kind.lower()}_0' \({kind}\): {reason}"):
        build(net.model(made), "float")


@pytest.mark.parametrize("operator", ["Gather", "GatherElements", "GatherND"])
def test_indices_that_are_computed_may_count_from_the_end(operator: str) -> None:
    net = Net(0, (4, 6))
    index = net.op("Cast", net.op("Sign", "input"), to=TensorProto.INT64)  # -1, 0 and 1
    match operator:
        case "Gather":
            found = net.op("Gather", net.constant(np.arange(5), np.float32), index)
        case "GatherElements":
            found = net.op("GatherElements", "input", index, axis=2)
        case _:
            found = net.op("GatherND", "input", net.op("Unsqueeze", index, integers(net, 3)), batch_dims=2)
    assert float_distance(net.model(found), net.inputs(5, seed=1)) == 0


def test_tokens_are_read_as_they_are_given() -> None:
    """They count from the start; nothing is spent on what they are not."""
    net = Net(0, (7,))
    tokens = net.model(net.op("Gather", net.constant(np.eye(9), np.float32), "input"))
    tokens.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    assert build(tokens, "float").ops == ["GATHER"]
