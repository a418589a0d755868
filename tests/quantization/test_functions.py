"""Functions spelled in several operations become the one operation that computes them, and nothing else does."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.onnx_graph import Graph, attribute, inferred
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.clean import clean
from edgekd.quantization.functions import name_functions
from edgekd.quantization.scheme import find_scheme
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
Nodes = list[onnx.NodeProto]
NUMBERS = {
    **{name: np.float32(value) for name, value in {"half": 0.5, "one": 1, "three": 3, "six": 6, "zero": 0}.items()},
    **{"sqrt2": np.float32(2**0.5), "sixth": np.float32(1 / 6), "cube": np.float32(0.044715)},
    **{"two": np.float32(2), "tiny": np.float32(1e-5), "k": np.float32(0.79788)},  # five digits, as some write it
    "axes": np.array([-1], np.int64),
    "gain": random(6, seed=4),
    "shift": random(6, seed=5),
}


def gelu(*last: onnx.NodeProto) -> Nodes:
    return [node("Div", ["x", "sqrt2"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "one"], ["f"]), *last]


GELUS = {
    "x times the sum, halved": gelu(node("Mul", ["x", "f"], ["p"]), node("Mul", ["p", "half"], ["y"])),
    "half of x times the sum": gelu(node("Mul", ["x", "half"], ["p"]), node("Mul", ["p", "f"], ["y"])),
    "x times half of the sum": gelu(node("Mul", ["f", "half"], ["p"]), node("Mul", ["p", "x"], ["y"])),
    "halved by a division": gelu(node("Mul", ["f", "x"], ["p"]), node("Div", ["p", "two"], ["y"])),
}
CUBED = {
    "Pow": [node("Pow", ["x", "three"], ["c"])],
    "Mul": [node("Mul", ["x", "x"], ["s"]), node("Mul", ["s", "x"], ["c"])],
}
HALF_SIGMOID = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"])]
CENTRED = [node("ReduceMean", ["x", "axes"], ["m"]), node("Sub", ["x", "m"], ["c"])]
DIVIDED = [node("Add", ["v", "tiny"], ["w"]), node("Sqrt", ["w"], ["s"]), node("Div", ["c", "s"], ["n"])]
AFFINE = [node("Mul", ["n", "gain"], ["g"]), node("Add", ["g", "shift"], ["y"])]
POWER = [node("Pow", ["c", "two"], ["q"]), node("ReduceMean", ["q", "axes"], ["v"])]
PRODUCT = [node("Mul", ["c", "c"], ["q"]), node("ReduceMean", ["q", "axes"], ["v"])]
MOMENTS = [
    *(
        node("ReduceMean", ["x", "axes"], ["m"]),
        node("Mul", ["x", "x"], ["q"]),
        node("ReduceMean", ["q", "axes"], ["r"]),
    ),
    *(node("Mul", ["m", "m"], ["o"]), node("Sub", ["r", "o"], ["v"]), node("Sub", ["x", "m"], ["c"])),
]


def by_tanh(cubed: Nodes) -> Nodes:
    return [
        *cubed,
        *(node("Mul", ["c", "cube"], ["t"]), node("Add", ["x", "t"], ["u"]), node("Mul", ["u", "k"], ["z"])),
        *(node("Tanh", ["z"], ["h"]), node("Add", ["h", "one"], ["i"]), node("Mul", ["x", "i"], ["j"])),
        node("Mul", ["j", "half"], ["y"]),
    ]


def reciprocal(nodes: Nodes) -> Nodes:
    return [*nodes[:-1], node("Reciprocal", ["s"], ["r1"]), node("Mul", ["c", "r1"], ["n"])]


def spelled(nodes: Nodes) -> onnx.ModelProto:
    read = {name for each in nodes for name in each.input}
    used = {name: value for name, value in NUMBERS.items() if name in read}
    return model(nodes, used, ("N", 5, 6), output_rank=3)


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        *(pytest.param(nodes, "Gelu", id=name) for name, nodes in GELUS.items()),
        *(pytest.param(by_tanh(nodes), "Gelu", id=f"by tanh, {name}") for name, nodes in CUBED.items()),
        ([*HALF_SIGMOID, node("Mul", ["x", "b"], ["p"]), node("Div", ["p", "six"], ["y"])], "HardSwish"),
        ([*HALF_SIGMOID, node("Mul", ["b", "sixth"], ["p"]), node("Mul", ["p", "x"], ["y"])], "HardSwish"),
        ([node("HardSigmoid", ["x"], ["b"], alpha=1 / 6), node("Mul", ["x", "b"], ["y"])], "HardSwish"),
        ([*HALF_SIGMOID, node("Div", ["b", "six"], ["y"])], "HardSigmoid"),
        ([*CENTRED, *POWER, *DIVIDED, *AFFINE], "LayerNormalization"),
        ([*CENTRED, *PRODUCT, *reciprocal(DIVIDED), *AFFINE], "LayerNormalization"),
        ([*MOMENTS, *DIVIDED, *AFFINE], "LayerNormalization"),
        ([*CENTRED, *POWER, *DIVIDED[:-1], node("Div", ["c", "s"], ["y"])], "LayerNormalization"),
    ],
)
def test_one_word_for_one_function(nodes: Nodes, kind: str) -> None:
    net = spelled(nodes)
    named = clean(net)
    assert kinds(named) == [kind]
    x = random(64, 5, 6, seed=9) * np.geomspace(0.1, 10, 64, dtype=np.float32)[:, None, None]
    expected, found = (Reference(each).run({"x": x})["y"] for each in (net, named))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)  # constants are written with five digits


def test_epsilon_gain_and_shift_are_the_models_own() -> None:
    named = clean(spelled([*CENTRED, *POWER, *DIVIDED, *AFFINE]))
    (norm,) = named.graph.node
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in named.graph.initializer}
    assert attribute(norm, "epsilon") == pytest.approx(1e-5)
    np.testing.assert_array_equal(values[norm.input[1]], NUMBERS["gain"])
    np.testing.assert_array_equal(values[norm.input[2]], NUMBERS["shift"])


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(gelu(node("Mul", ["x", "f"], ["y"])), id="twice a GELU"),
        pytest.param(
            [node("Add", ["x", "one"], ["a"]), *HALF_SIGMOID[1:], node("Mul", ["x", "b"], ["y"])], id="shifted"
        ),
        pytest.param(
            [node("Sigmoid", ["x"], ["b"]), node("Mul", ["x", "b"], ["y"])], id="SiLU, which has integer kernels"
        ),
        pytest.param(
            [
                node("Mul", ["x", "x"], ["q"]),
                node("ReduceMean", ["q", "axes"], ["v"]),
                node("Add", ["v", "tiny"], ["w"]),
                node("Sqrt", ["w"], ["s"]),
                node("Div", ["x", "s"], ["y"]),
            ],
            id="RMSNorm",
        ),
    ],
)
def test_what_computes_something_else_stays(nodes: Nodes) -> None:
    graph = Graph(inferred(spelled(nodes)))
    name_functions(graph)
    assert kinds(graph.model()) == [each.op_type for each in nodes]


def test_what_others_read_inside_stays() -> None:
    nodes = [*GELUS["x times the sum, halved"][:-1], node("Mul", ["p", "half"], ["g"]), node("Add", ["g", "e"], ["y"])]
    assert "Erf" in kinds(clean(spelled(nodes)))


def between_layers(middle: Nodes) -> onnx.ModelProto:
    """The nodes from x to y between two matrix products."""
    first, last = node("MatMul", ["given", "first"], ["x"]), node("MatMul", ["y", "last"], ["z"])
    read = {name for each in middle for name in each.input} & NUMBERS.keys()
    weights = {"first": random(6, 6, seed=1), "last": random(6, 6, seed=2)}
    net = model([first, *middle, last], weights | {name: NUMBERS[name] for name in read}, ("N", 6), "z", 20, 2)
    net.graph.input[0].name = "given"
    return net


@pytest.mark.parametrize(
    ("spelling", "word"),
    [
        (GELUS["x times the sum, halved"], node("Gelu", ["x"], ["y"])),
        (
            [*CENTRED, *POWER, *DIVIDED, *AFFINE],
            node("LayerNormalization", ["x", "gain", "shift"], ["y"], axis=-1, epsilon=1e-5),
        ),
    ],
)
def test_a_spelled_function_costs_no_more_in_int8_than_its_word(spelling: Nodes, word: onnx.NodeProto) -> None:
    samples = {"given": random(256, 6, seed=7)}
    nets = [between_layers(spelling), between_layers([word])]
    answers = [Reference(calibrate(net, find_scheme("int8-asymmetric"), [samples])).run(samples)["z"] for net in nets]
    # Ranges are those of the same tensors, up to float rounding, which may move a value by one of its steps.
    assert np.abs(answers[0] - answers[1]).max() <= np.ptp(answers[1]) / 255 * 2
