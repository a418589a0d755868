"""What each ONNX node is to placement: its plain word, or one that no rule knows."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.graph_ir import Op, View
from edgekd.quantization.onnx_view import view_of
from tests.quantization.onnx_models import model, random

node = helper.make_node
WEIGHT, FLAT, ONE = random(3, 3, 1, 1), random(6, 6), np.float32(1)
ZERO, NOTHING, SIX = np.float32(0), np.zeros(1, np.float32), np.float32(6)
PADS, FIRST = np.array([0, 0, 1, 1, 0, 0, 0, 0]), np.array(0)


def viewed(*nodes: onnx.NodeProto, **constants: np.ndarray) -> View:
    return view_of(model(nodes, {name: np.asarray(value) for name, value in constants.items()}))


@pytest.mark.parametrize(
    ("one", "constants", "kind"),
    [
        (node("Clip", ["x", "low", "high"], ["y"]), {"low": ZERO, "high": SIX}, "Clip"),
        (node("Clip", ["x", "low", "high"], ["y"]), {"low": NOTHING, "high": SIX}, "Clip"),
        (node("Clip", ["x", "low", "high"], ["y"]), {"low": -ONE, "high": SIX}, "Clamp"),
        (node("Clip", ["x", "", "high"], ["y"]), {"high": SIX}, "Clamp"),
        (node("Clip", ["x"], ["y"]), {}, "Clamp"),
        (node("Pad", ["x", "pads"], ["y"]), {"pads": PADS}, "Pad"),
        (node("Pad", ["x", "pads", "", "axes"], ["y"]), {"pads": PADS[:4], "axes": np.arange(2)}, "Pad"),
        (node("Pad", ["x", "pads", "value"], ["y"]), {"pads": PADS, "value": ZERO}, "Pad"),
        (node("Pad", ["x", "pads", "value"], ["y"], mode="constant"), {"pads": PADS, "value": ONE}, "Border"),
        (node("Pad", ["x", "pads"], ["y"], mode="edge"), {"pads": PADS}, "Border"),
        (node("Pad", ["x", "pads", "value"], ["y"], mode="edge"), {"pads": PADS, "value": ZERO}, "Border"),
        (node("Gemm", ["x", "w"], ["y"], transB=1), {"w": FLAT}, "Gemm"),
        (node("Gemm", ["x", "w"], ["y"]), {"w": FLAT}, "Product"),
        (node("Gemm", ["x", "w"], ["y"], transB=1, transA=1), {"w": FLAT}, "Product"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), {}, "MaxPool"),
        (node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), {}, "ArgMaxPool"),
        (node("ConvTranspose", ["x", "w"], ["y"]), {"w": WEIGHT}, "ConvTranspose"),
        (node("ConvTranspose", ["x", "w"], ["y"], group=1), {"w": WEIGHT}, "ConvTranspose"),
        (node("ConvTranspose", ["x", "w"], ["y"], group=3), {"w": WEIGHT}, "GroupedConvTranspose"),
        (node("Resize", ["x", "", "s"], ["y"]), {"s": ONE}, "Resize"),
        (node("Resize", ["x", "", "s"], ["y"], mode="linear"), {"s": ONE}, "Resize"),
        (node("Resize", ["x", "", "s"], ["y"], mode="cubic"), {"s": ONE}, "Cubic"),
        (node("Gather", ["x", "i"], ["y"]), {"i": FIRST}, "Gather"),
        (node("Gather", ["t", "x"], ["y"]), {"t": FLAT}, "Embedding"),
        (node("Gather", ["x", "x"], ["y"]), {}, "Embedding"),
        (node("Concat", ["x", "x"], ["y"], axis=1), {}, "Concat"),
        (node("Concat", ["x", "w"], ["y"], axis=1), {"w": WEIGHT}, "Join"),
        (node("Concat", ["w", "x"], ["y"], axis=1), {"w": WEIGHT}, "Join"),
        (node("Erf", ["x"], ["y"]), {}, "Erf"),
    ],
)
def test_a_word_is_plain_or_unknown(one: onnx.NodeProto, constants: dict[str, np.ndarray], kind: str) -> None:
    assert viewed(one, **constants).ops[0].kind == kind


def test_layers_are_called_by_their_weight_and_edges_are_activations() -> None:
    view = viewed(
        node("Conv", ["x", "stem.weight", "stem.bias"], ["a"], name="node_1"),
        node("Add", ["a", "shift.weight"], ["b"], name="bias"),
        node("Add", ["a", "b"], ["c"], name="sum"),
        node("MatMul", ["c", "b"], ["d"], name="product"),
        node("Clip", ["d", "", "six"], ["y"], name="clip"),
        **{"stem.weight": WEIGHT, "stem.bias": random(3), "shift.weight": ONE, "six": SIX},
    )
    assert view == View(
        (
            Op("stem", "Conv", ("x",), ("a",), constant=True),
            Op("bias", "Add", ("a",), ("b",), constant=True),
            Op("sum", "Add", ("a", "b"), ("c",)),
            Op("product", "MatMul", ("c", "b"), ("d",)),
            Op("clip", "Clamp", ("d",), ("y",)),
        ),
        ("x",),
        ("y",),
    )


@pytest.mark.parametrize(
    ("weight", "bias", "arithmetic"),
    [
        (np.rint(3 * WEIGHT), False, True),
        (WEIGHT, False, False),
        (np.where(np.arange(9).reshape(3, 3, 1, 1), 1, WEIGHT), False, False),
        (np.rint(3 * WEIGHT), True, False),
    ],
)
def test_whole_weights_without_a_bias_were_never_learned(weight: np.ndarray, bias: bool, arithmetic: bool) -> None:
    operands, values = ["x", "w", "b"][: 3 if bias else 2], {"w": weight.astype(np.float32), "b": random(3)}
    (op,) = viewed(node("Conv", operands, ["y"]), **values).ops
    assert op.arithmetic is arithmetic


def test_the_only_consumer_is_one_that_nothing_else_sees() -> None:
    first, second = Op("first", "Relu", ("x",), ("a",)), Op("second", "Relu", ("a",), ("y",))
    assert View((first, second), ("x",), ("y",)).only_consumer("a") == second
    assert View((first, second), ("x",), ("a", "y")).only_consumer("a") is None
    assert View((first, second, Op("twice", "Add", ("a", "y"), ("z",))), ("x",), ("z",)).only_consumer("a") is None
    assert View((first,), ("x",), ("a",)).only_consumer("y") is None
    assert View((first,), ("x",), ()).consumers == {"x": [first]}
