"""Ops that some networks hold, one at a time in float32: against ONNX Runtime, at another batch than built for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgekd.errors import BadInputError
from tests.backends.tflite.harness import build, float_distance
from tests.factories import Net

Build = Callable[[Net], str]


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def number(net: Net, made: str) -> str:
    return net.op("Cast", made, to=TensorProto.FLOAT)


def op(kind: str, *operands: Any, **attributes: Any) -> Build:
    """Of the input and constants."""
    return lambda net: net.op(
        kind, "input", *(net.constant(each, np.asarray(each).dtype) for each in operands), **attributes
    )


def of_small(kind: str) -> Build:
    return lambda net: net.op(kind, net.op("Tanh", "input"))


def found(kind: str, **attributes: int) -> Build:
    """What is infinite or no number among quotients by zero."""

    def net_of(net: Net) -> str:
        signs = net.op("Round", net.op("Tanh", "input"))
        return number(net, net.op(kind, net.op("Div", signs, net.op("Mul", signs, net.constant(0.0))), **attributes))

    return net_of


def either(net: Net) -> str:
    masks = [net.op("Greater", "input", net.constant(np.float32(bound))) for bound in (0, 1)]
    return number(net, net.op("Xor", *masks))


def remainder(net: Net) -> str:
    whole = net.op("Cast", net.op("Mul", "input", net.constant(5.0)), to=TensorProto.INT64)
    return number(net, net.op("Mod", whole, integers(net, -3)))


def of_bytes(kind: str) -> Build:
    def net_of(net: Net) -> str:
        small = net.op("Cast", "input", to=TensorProto.UINT8)
        return number(net, net.op(kind, small, small))

    return net_of


def one_hot(axis: int) -> Build:
    """Classes of which some are counted from the end, and some are none."""

    def net_of(net: Net) -> str:
        classes = net.op("Cast", net.op("Round", net.op("Mul", "input", net.constant(3.0))), to=TensorProto.INT64)
        return net.op("OneHot", classes, net.constant(4, np.int64), net.constant([-0.5, 2.0]), axis=axis)

    return net_of


def masked_scores(upper: int, offset: int) -> Build:
    def net_of(net: Net) -> str:
        halves = net.op("Div", "input", net.op("Round", net.op("Tanh", "input")))  # infinite ones among them
        return net.op(
            "Softmax",
            net.op("Trilu", net.op("Min", halves, net.constant(3.0)), integers(net, offset), upper=upper),
            axis=-1,
        )

    return net_of


def zeros_for_each_sample(net: Net) -> str:
    shape = net.op("Concat", net.op("Shape", "input", start=0, end=1), integers(net, 2, 4), axis=0)
    return net.op("Concat", "input", net.op("ConstantOfShape", shape), axis=1)


def rows_replaced(axis: int, rows: list[int]) -> Build:
    """As exporters write x[:, 1:3] = y."""

    def net_of(net: Net) -> str:
        sizes = [net.op("Shape", "input", start=i, end=i + 1) for i in range(len(net.shape) + 1)]
        sizes[axis] = integers(net, len(rows))
        shape = [len(rows) if i == axis else 1 for i in range(len(sizes))]
        indices = net.op("Expand", net.constant(np.reshape(rows, shape), np.int64), net.op("Concat", *sizes, axis=0))
        limits = (integers(net, each) for each in (0, len(rows), axis))
        return net.op("ScatterElements", "input", indices, net.op("Exp", net.op("Slice", "input", *limits)), axis=axis)

    return net_of


def largest_kept(axis: int) -> Build:
    """A mask of the two largest, as gates of experts have it."""

    def net_of(net: Net) -> str:
        values = net.op("TopK", "input", integers(net, 2), axis=axis)
        net.nodes[-1].output.append("places")
        none = net.op("Mul", "input", net.constant(0.0))
        return net.op("ScatterElements", none, "places", values, axis=axis)

    return net_of


def ones_in_front(net: Net) -> str:
    """As torch writes x[:, [0, 2]] = 1: the batch is not the first dimension."""
    turned = net.op("Transpose", "input", perm=[1, 0, 2])
    shape = net.op("Concat", integers(net, 2), net.op("Shape", "input", start=0, end=1), integers(net, 3), axis=0)
    ones = net.op("Expand", net.constant(1.0), shape)
    made = net.op("ScatterND", turned, net.constant([[0], [2]], np.int64), ones)
    return net.op("Transpose", made, perm=[1, 0, 2])


def reversed_rows(net: Net) -> str:
    lengths = net.op("Cast", net.op("ArgMax", net.op("Flatten", "input"), axis=1, keepdims=0), to=TensorProto.INT64)
    least = net.op("Add", net.op("Mod", lengths, integers(net, 5)), integers(net, 1))
    return net.op("ReverseSequence", "input", least, batch_axis=0, time_axis=1)


def clamped(kind: int, *bounds: int) -> Build:
    """Whole numbers, between bounds that activations have in float."""

    def net_of(net: Net) -> str:
        whole = net.op("Cast", net.op("Mul", "input", net.constant(5.0)), to=kind)
        limits = [net.constant(each, helper.tensor_dtype_to_np_dtype(kind)) for each in bounds]
        return number(net, net.op("Clip" if bounds else "Relu", whole, *limits))

    return net_of


def nothing_reduced(net: Net) -> str:
    """Over no axes, where that means none."""
    some = net.op("ReduceMean", net.op("Exp", "input"), noop_with_empty_axes=1)
    return net.op("Neg", net.op("ReduceSum", some, integers(net), noop_with_empty_axes=1))


def repeated_in_front(net: Net) -> str:
    """A map, stored channels last, gets a dimension more."""
    sizes = [integers(net, 2), *(net.op("Shape", "input", start=i, end=i + 1) for i in range(4))]
    some = net.op("ReduceMax", net.conv("input", 2, 3), integers(net, 3), keepdims=1)
    sizes[2] = integers(net, 3)
    return net.op("Transpose", net.op("Expand", some, net.op("Concat", *sizes, axis=0)), perm=[1, 0, 2, 3, 4])


def nearest(scale: float) -> Build:
    """As torch exports it; in float64 some places lie just below the elements that they are."""
    return lambda net: net.op(
        "Resize", "input", "", net.constant([1, 1, 1, scale]), coordinate_transformation_mode="asymmetric",
        mode="nearest", nearest_mode="floor",
    )  # fmt: skip


def summed(kind: str, count: int) -> Build:
    def net_of(net: Net) -> str:
        others = [net.op("Abs", "input"), net.constant(net.rng.normal(0, 1, 4)), net.op("Neg", "input")]
        return net.op(kind, "input", *others[: count - 1])

    return net_of


@pytest.mark.parametrize(
    ("shape", "net_of", "ops"),
    [
        ((3, 4), of_small("Acos"), "TANH SQUARE SUB SQRT ATAN2"),
        ((3, 4), of_small("Asin"), "TANH SQUARE SUB SQRT ATAN2"),
        ((3, 4), op("Atan"), "EQUAL CAST ATAN2"),
        ((3, 4), of_small("Tan"), "TANH SIN COS DIV"),
        ((3, 4), op("CumSum", 1), "CUMSUM"),
        ((3, 4, 5), lambda net: net.op("CumSum", net.conv("input", 3, 4), integers(net, 1), reverse=1), None),
        ((3, 4), op("CumSum", -1, exclusive=1), "CUMSUM"),
        ((3, 4), op("Mod", np.float32(0.75), fmod=1), "ABS ABS FLOOR_MOD SIGN MUL"),
        ((3, 4), remainder, None),
        ((3, 4), either, "GREATER GREATER NOT_EQUAL CAST"),
        ((3, 4), found("IsNaN"), None),
        ((3, 4), found("IsInf"), None),
        ((3, 4), found("IsInf", detect_negative=0), None),
        ((3, 4), found("IsInf", detect_positive=0), None),
        ((6, 4, 5), op("LRN", size=3, alpha=0.3, beta=0.6, bias=1.5), "LOCAL_RESPONSE_NORMALIZATION"),
        ((2, 4, 5), op("LRN", size=5), "LOCAL_RESPONSE_NORMALIZATION"),
        ((7,), one_hot(-1), None),
        ((3, 2), one_hot(1), None),
        ((3, 4, 4), masked_scores(0, 0), None),
        ((4, 5), masked_scores(1, -1), None),
        ((3, 4), zeros_for_each_sample, None),
        ((5, 3), reversed_rows, None),
        ((5, 3), largest_kept(1), None),
        ((4, 2, 3), largest_kept(3), None),
        ((5, 3), ones_in_front, None),
        ((5, 3), rows_replaced(1, [1, 3]), None),
        ((3, 4, 5), rows_replaced(3, [-1]), None),
        ((3, 4), clamped(TensorProto.INT64, 0, 6), "MUL CAST MAXIMUM MINIMUM CAST"),
        ((3, 4), clamped(TensorProto.INT32, 0), "MUL CAST MAXIMUM CAST"),
        ((3, 4), clamped(TensorProto.INT8, 0, 6), "MUL CAST MAXIMUM MINIMUM CAST"),
        ((3, 4), clamped(TensorProto.INT32), "MUL CAST MAXIMUM CAST"),
        ((3, 4), nothing_reduced, "EXP NEG"),
        ((2, 1, 5), repeated_in_front, None),
        ((1, 2, 14), nearest(10 / 7), None),
        ((1, 2, 9), nearest(2 / 3), None),
        ((1, 1, 2), nearest(41.0), None),
        ((3, 4), summed("Sum", 2), "ABS ADD"),
        ((3, 4), summed("Sum", 4), None),
        ((3, 4), summed("Mean", 3), "ABS ADD ADD MUL"),
    ],
)  # fmt: skip
def test_it_computes_what_onnx_runtime_does(shape: tuple[int, ...], net_of: Build, ops: str | None) -> None:
    net = Net(0, shape)
    model = net.model(net_of(net))
    # float32: sums in another order, and functions by other polynomials, of values up to a few tens
    assert float_distance(model, net.inputs(5, seed=1)) <= 1e-5
    assert ops is None or " ".join(build(model, "float").ops) == ops


@pytest.mark.parametrize(
    ("shape", "net_of", "reason"),
    [
        ((4, 4, 4), op("LRN", size=4), r"\(LRN\): attribute size=4: only odd sizes on 2-D maps .* make it 5"),
        (
            (70,),
            lambda net: net.op(
                "ScatterElements", "input", net.op("Cast", "input", to=TensorProto.INT64), "input", axis=1
            ),
            r"\(ScatterElements\): this op has no TFLite form",
        ),  # too many computed indices
        ((4,), op("Trilu"), r"\(Trilu\): this op has no TFLite form"),  # it would cut samples off
        ((4,), of_bytes("Add"), r"\(Add\): TFLite does not compute with uint8: cast 'cast_0_out' to int32"),
        ((4,), of_bytes("Equal"), r"\(Equal\): TFLite does not compute with uint8"),
        ((4,), lambda net: number(net, net.op("NonZero", "input")), r"\(NonZero\): how many elements .* use a mask"),
    ],
)
def test_what_has_no_form_is_named(shape: tuple[int, ...], net_of: Build, reason: str) -> None:
    net = Net(0, shape)
    with pytest.raises(BadInputError, match=reason):
        build(net.model(net_of(net)), "float")


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
def test_bytes_may_be_classes(kind: int) -> None:
    """ONNX Runtime has no kernel for them: what is no class is none, whatever its bits are."""
    net = Net(0, (5,))
    classes = net.op("Cast", "input", to=kind)
    model = net.model(net.op("OneHot", classes, net.constant(10, np.int64), net.constant([0.0, 1.0])))
    given = np.array([[0, 9, 10, 100, 120]], np.float32) + (130 if kind == TensorProto.UINT8 else 0)
    assert build(model, "float").run(given)["logits"].sum(-1).tolist() == [
        [float(value < 10) for value in given[0]],
    ]


def test_suppression_of_boxes_is_left_to_the_device() -> None:
    net = Net(0, (6, 4))
    scores = net.op("Transpose", net.op("ReduceMax", "input", integers(net, 2)), perm=[0, 2, 1])
    chosen = net.op("NonMaxSuppression", "input", scores, integers(net, 3))
    with pytest.raises(BadInputError, match=r"'nonmaxsuppression_2' .*without it \(nms=False\), and suppress"):
        build(net.model(number(net, chosen)), "float")
