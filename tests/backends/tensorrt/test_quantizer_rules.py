"""The rules about quantisers, on graphs of a few nodes: what each says, of which node, and whether it is fatal."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.backends.tensorrt.finding import Finding
from edgekd.backends.tensorrt.half import half_islands
from edgekd.backends.tensorrt.lint import notes_or_raise
from edgekd.backends.tensorrt.quantizer_rules import RULES
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
Found = list[tuple[str, str, bool]]


def said(*nodes: onnx.NodeProto, **constants: object) -> Found:
    known = {"s": np.float32(0.5), "z": np.int8(0)} | constants
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()]
    net = helper.make_model(helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors))
    return [(finding.rule, finding.node, finding.fatal) for rule in RULES for finding in rule(Graph(net))]


def q(source: str = "x", scale: str = "s", point: str | None = "z", result: str = "q") -> onnx.NodeProto:
    return node("QuantizeLinear", [source, scale, *([] if point is None else [point])], [result], name="Q")


def dq(source: str = "q", scale: str = "s", point: str | None = "z", result: str = "d") -> onnx.NodeProto:
    return node("DequantizeLinear", [source, scale, *([] if point is None else [point])], [result], name="D")


END = node("Conv", ["d", "v"], ["y"], name="end")
W8 = np.ones((3, 3, 1, 1), np.int8)
EACH = q(scale="e", point="p"), dq(scale="e", point="p")


def scales(count: int) -> dict[str, np.ndarray]:
    return {"e": np.ones(count, np.float32), "p": np.zeros(count, np.int8)}


@pytest.mark.parametrize(
    ("nodes", "constants", "found"),
    [
        ((q(), dq(), END), {}, []),
        ((q(point=None), dq(point=None), END), {}, [("zero-point-missing", "Q", True)]),
        ((q(point=""), dq(), END), {}, [("zero-point-missing", "Q", True)]),
        ((q(point="p"), dq(point="p"), END), {"p": np.int8(1)},
            [("zero-point-nonzero", "Q", True), ("zero-point-nonzero", "D", True)]),
        ((node("Cast", ["x"], ["p"], to=TensorProto.INT8), q(point="p"), dq(), END), {},
            [("zero-point-nonzero", "Q", True)]),
        ((q(point="p"), dq(point="p"), END), {"p": np.uint8(0)}, [("activation-dtype", "Q", True)]),
        ((dq("w", "s", "z"), END), {"w": W8}, []),
        ((dq("w", "s", "p"), END), {"w": W8.astype(np.uint8), "p": np.uint8(0)}, [("weight-dtype", "D", True)]),
        ((dq("w", "s", "p"), END), {"w": W8.astype(np.int32), "p": np.int32(0)}, [("int32-bias", "D", True)]),
        ((q(scale="e"), dq(scale="e"), END), {"e": np.float32(0)},
            [("scale-positive", "Q", True), ("scale-positive", "D", True)]),
        ((q(), dq(scale="e"), END), {"e": np.float32(-1)}, [("scale-positive", "D", True)]),
        ((q(), dq(scale="e"), END), {"e": np.float32(np.inf)}, [("scale-positive", "D", True)]),
        ((node("Abs", ["s"], ["e"]), q(), dq(scale="e"), END), {}, [("scale-positive", "D", True)]),
        ((*EACH, END), scales(2), [("activation-per-channel", "Q", True), ("activation-per-channel", "D", True)]),
        ((*EACH, END), scales(1), []),
        ((dq("x", "e", None), END), {"e": np.ones(2, np.float32)}, [("activation-per-channel", "D", True)]),
        ((dq("w", "e", "p"), END), {"w": W8, "e": np.ones(3, np.float32), "p": np.zeros(3, np.int8)}, []),
        ((q("w", "e", "p"), dq("q", "e", "p"), END), {"w": W8.astype(np.float32), "e": np.ones(2, np.float32),
            "p": np.zeros(2, np.int8)}, [("weight-stored-float", "Q", False)]),
        ((node("Conv", ["x", "w"], ["y"], name="end"),), {"w": W8}, [("int8-constant", "end", True)]),
        ((node("Conv", ["x", "w"], ["y"], name="end"),), {"w": W8.astype(np.uint8)}, [("int8-constant", "end", True)]),
        ((node("Gather", ["x", "w"], ["y"], name="end"),), {"w": np.int32(1)}, []),
        ((q(), dq(), node("Relu", ["d"], ["y"])), {}, [("quantizer-before-activation", "D", False)]),
        ((q(), dq(), node("Clip", ["d"], ["y"])), {}, [("quantizer-before-activation", "D", False)]),
        ((q(), dq(), node("Relu", ["d"], ["r"]), node("Add", ["r", "d"], ["y"])), {}, []),
        ((dq("w"), node("Relu", ["d"], ["y"])), {"w": W8}, []),
        ((q(), dq()), {}, []),
        *(((node(kind, ["x"], ["y"], name="end"),), {}, [("qoperator", "end", True)])
            for kind in ("QLinearConv", "QGemm", "QAttention", "MatMulInteger", "DynamicQuantizeLinear")),
        ((node("Integers", ["x"], ["y"], name="end"),), {}, []),
    ],
)  # fmt: skip
def test_each_rule_names_the_node(
    nodes: tuple[onnx.NodeProto, ...], constants: dict[str, object], found: Found
) -> None:
    assert said(*nodes, **constants) == found


def test_fatal_findings_are_one_line_and_others_notes() -> None:
    notes = [Finding("a", f"n{index}", "slow", fatal=False) for index in range(2)]
    assert notes_or_raise(notes) == ("n0: slow", "n1: slow")
    assert notes_or_raise([]) == ()
    for count, named in ((4, "n0, n1, n2, n3"), (5, "n0, n1, n2, n3 and 1 more"), (6, "n0, n1, n2, n3 and 2 more")):
        wrong = [Finding("a", f"n{index}", f"wrong {index}") for index in range(count)]
        with pytest.raises(BadInputError) as caught:
            notes_or_raise([*notes, *wrong, Finding("b", "m", "bad")])
        assert str(caught.value) == f"not a graph for TensorRT: a at {named} (wrong 0); b at m (bad)"


def net(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (2, 3, 4, 4), **constants: np.ndarray) -> onnx.ModelProto:
    known = {"w": random(3, 3, 1, 1), "v": random(3, 3, 1, 1, seed=1), "g": random(3, 1, 1)} | constants
    read = {name for each in nodes for name in each.input}
    return model(list(nodes), {name: value for name, value in known.items() if name in read}, shape)


def gain(value: float) -> np.ndarray:
    return np.full((3, 1, 1), value, np.float32)


CONV, SECOND = node("Conv", ["x", "w"], ["a"]), node("Conv", ["b", "v"], ["y"])


@pytest.mark.parametrize(
    ("built", "words", "layers"),
    [
        (lambda: net(CONV, node("Relu", ["a"], ["b"]), SECOND), "Conv Relu Conv", 2),
        (lambda: net(CONV, node("Exp", ["a"], ["b"]), SECOND), "Conv Exp Conv", 2),
        (lambda: net(node("Relu", ["x"], ["y"])), "Relu", 0),
        (lambda: net(node("Mul", ["x", "g"], ["b"]), SECOND), "Mul Conv", 1),
        (lambda: net(CONV, node("Mul", ["a", "g"], ["b"]), SECOND, g=gain(7e4)), "Conv Mul Conv", 2),
        (lambda: net(CONV, node("Mul", ["a", "g"], ["b"]), SECOND, g=gain(1e-2)), "Conv Mul Conv", 2),
        (lambda: net(CONV, node("Relu", ["a"], ["r"]), node("Exp", ["a"], ["e"]), node("Add", ["r", "e"], ["y"])),
            "Conv Relu Exp Add", 1),
        (lambda: net(CONV, node("Exp", ["a"], ["e"]), node("Relu", ["e"], ["y"])), "Conv Exp Relu", 1),
    ],
)  # fmt: skip
def test_islands_are_cast_at_their_shores_alone(built: Callable[[], onnx.ModelProto], words: str, layers: int) -> None:
    half, count = half_islands(before := built())
    onnx.checker.check_model(half, full_check=True)
    assert count == layers
    assert sorted(each for each in kinds(half) if each != "Cast") == sorted(words.split())
    x = random(2, 3, 4, 4, seed=9)
    exact, found = (Reference(each).run({"x": x})["y"] for each in (before, half))
    assert np.abs(found - exact).max() <= 0.01 * np.abs(exact).max()  # 11 bits of mantissa
    types = {each.name: each.type.tensor_type.elem_type for each in (*half.graph.input, *half.graph.output)}
    assert set(types.values()) == {TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("built", "casts"),
    [
        (lambda: net(CONV, node("Relu", ["a"], ["b"]), SECOND), 2),
        (lambda: net(CONV, node("Exp", ["a"], ["b"]), SECOND), 4),
        (lambda: net(node("Relu", ["x"], ["y"])), 0),
        (lambda: net(CONV, node("Conv", ["x", "v"], ["c"]), node("Add", ["a", "c"], ["y"])), 2),
        (lambda: net(CONV, node("Exp", ["a"], ["e"]), node("Add", ["a", "e"], ["y"])), 4),
        (lambda: net(CONV, node("Exp", ["a"], ["e"]), node("Relu", ["e"], ["y"])), 2),
        (lambda: net(CONV, node("Mul", ["a", "g"], ["b"]), SECOND, g=gain(65504)), 2),
        (lambda: net(CONV, node("Mul", ["a", "g"], ["b"]), SECOND, g=gain(65600)), 4),
    ],
)
def test_what_crosses_a_shore_is_cast_once(built: Callable[[], onnx.ModelProto], casts: int) -> None:
    assert kinds(half_islands(built())[0]).count("Cast") == casts
