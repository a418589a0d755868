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
    "far": np.float32(20),
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


def test_what_cuts_a_function_off_far_out_stays() -> None:
    swish = [*HALF_SIGMOID, node("Mul", ["x", "b"], ["p"]), node("Div", ["p", "six"], ["h"])]
    graph = Graph(inferred(spelled([*swish, node("Min", ["h", "far"], ["y"])])))
    name_functions(graph)
    assert kinds(graph.model()) == ["HardSwish", "Min"]


def test_what_others_read_inside_stays() -> None:
    nodes = [*GELUS["x times the sum, halved"][:-1], node("Mul", ["p", "half"], ["g"]), node("Add", ["g", "e"], ["y"])]
    assert "Erf" in kinds(clean(spelled(nodes)))


def named(nodes: Nodes, shape: tuple[int | str, ...] = ("N", 5, 6), opset: int = 18, **numbers: object) -> Graph:
    """A graph of x whose functions have their words; `numbers` are constants beside NUMBERS."""
    known = NUMBERS | {name: np.asarray(value, np.float32) for name, value in numbers.items()}
    read = {name for each in nodes for name in each.input}
    values = {name: value for name, value in known.items() if name in read}
    graph = Graph(inferred(model(nodes, values, shape, opset=opset, output_rank=len(shape))))
    name_functions(graph)
    return graph


def words(graph: Graph) -> list[str]:
    return kinds(graph.model())


NORM = [*CENTRED, *POWER, *DIVIDED]


def test_gelu_is_told_from_its_form_by_tanh() -> None:
    for nodes, form in ((GELUS["x times the sum, halved"], b"none"), (by_tanh(CUBED["Pow"]), b"tanh")):
        graph = named(nodes)
        (gelu,) = graph.nodes
        assert attribute(gelu, "approximate") == form
        assert graph.opset == 20


def test_the_word_has_the_name_of_the_last_operation() -> None:
    last = node("Mul", ["p", "half"], ["y"], name="act")
    (found,) = named([*GELUS["x times the sum, halved"][:-1], last]).nodes
    assert (found.name, found.input, found.output) == ("act", ["x"], ["y"])


@pytest.mark.parametrize("extra", [11, 12])
def test_a_function_is_spelled_in_sixteen_operations_at_most(extra: int) -> None:
    div, erf, _, *rest = GELUS["x times the sum, halved"]
    more = [node("Identity", [f"e{index}" if index else "e"], [f"e{index + 1}"]) for index in range(extra)]
    nodes = [div, erf, *more, node("Add", [f"e{extra}", "one"], ["f"]), *rest]
    assert words(named(nodes)) == (["Gelu"] if len(nodes) <= 16 else [each.op_type for each in nodes])


def test_one_operation_is_its_own_word() -> None:
    (sigmoid,) = named([node("HardSigmoid", ["x"], ["y"], alpha=0.16667)]).nodes
    assert attribute(sigmoid, "alpha") == pytest.approx(0.16667, abs=1e-8)


def test_a_hard_sigmoid_has_a_slope_of_a_sixth() -> None:
    (sigmoid,) = named([*HALF_SIGMOID, node("Div", ["b", "six"], ["y"])]).nodes
    assert (attribute(sigmoid, "alpha"), attribute(sigmoid, "beta")) == (pytest.approx(1 / 6), 0.5)


def test_what_is_seen_inside_or_lies_between_stays() -> None:
    nodes = GELUS["x times the sum, halved"]
    seen = [*nodes[:-1], node("Mul", ["p", "half"], ["g"]), node("Add", ["g", "f"], ["y"])]
    assert words(named(seen)) == [each.op_type for each in seen]
    drawn = [node("RandomUniformLike", ["x"], ["r"]), *nodes[:3], node("Mul", ["r", "f"], ["p"]), nodes[-1]]
    assert words(named(drawn)) == [each.op_type for each in drawn]
    known = {name: NUMBERS[name] for each in nodes for name in each.input if name in NUMBERS}
    net = model(nodes, known, ("N", 5, 6), output_rank=3)
    net.graph.output.append(helper.make_tensor_value_info("e", onnx.TensorProto.FLOAT, ["N", 5, 6]))
    graph = Graph(inferred(net))
    name_functions(graph)
    assert words(graph) == [each.op_type for each in nodes]


@pytest.mark.parametrize("opset", [17, 18, 19, 20, 21])
def test_graphs_before_opset_18_stay(opset: int) -> None:
    graph = named(GELUS["x times the sum, halved"], opset=opset)
    assert (len(graph.nodes) == 1) == (opset >= 18)
    assert graph.opset == (17 if opset < 18 else max(opset, 20))


def test_a_graph_with_an_operation_that_opset_20_changed_stays() -> None:
    sample = node("GridSample", ["x", "grid"], ["s"])
    nodes = [
        sample,
        *(
            node(each.op_type, ["s" if e == "x" else e for e in each.input], each.output)
            for each in GELUS["x times the sum, halved"]
        ),
    ]
    found = words(named(nodes, ("N", 2, 6, 6), grid=np.zeros((1, 6, 6, 2))))
    assert found == [each.op_type for each in nodes]


def test_constants_of_several_numbers_are_no_activation() -> None:
    nodes = gelu(node("Mul", ["x", "f"], ["p"]), node("Mul", ["p", "halves"], ["y"]))
    assert words(named(nodes, halves=np.full(6, 0.5))) == [each.op_type for each in nodes]


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float64])
def test_numbers_that_are_no_float32_are_as_they_were(kind: type) -> None:
    """As places are clamped before a Gather."""
    to = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    clamped = [node("Sub", ["c", "one"], ["s"]), node("Max", ["s", "zero"], ["m"]), node("Min", ["m", "six"], ["n"])]
    nodes = [node("Cast", ["x"], ["c"], to=to), *clamped, node("Cast", ["n"], ["y"], to=onnx.TensorProto.FLOAT)]
    numbers = {name: np.asarray(NUMBERS[name], kind) for name in ("one", "zero", "six")}
    graph = Graph(inferred(model(nodes, numbers, ("N", 6), output_rank=2)))
    name_functions(graph)
    assert kinds(graph.model()) == [each.op_type for each in nodes]


def test_a_mean_over_another_axis_is_neither_an_activation_nor_a_norm() -> None:
    channels = node("ReduceMean", ["x", "first"], ["m"])
    for rest in (
        [node("Relu", ["m"], ["r"]), node("Add", ["x", "r"], ["y"])],
        [*CENTRED[1:], *POWER, *DIVIDED[:-1], node("Div", ["c", "s"], ["y"])],
    ):
        read = {name for each in (channels, *rest) for name in each.input}
        values = {name: value for name, value in NUMBERS.items() if name in read} | {"first": np.array([1])}
        graph = Graph(inferred(model([channels, *rest], values, ("N", 5, 6), output_rank=3)))
        name_functions(graph)
        assert words(graph) == [each.op_type for each in (channels, *rest)]


@pytest.mark.parametrize(
    ("shape", "found"),
    [(("N", 2), True), ((3, 5, 2), True), ((2,), True), (("N", 5, 1), False), (("N", 5, "C"), False), ((), False)],
)
def test_a_norm_is_over_two_channels_or_more_whose_number_is_known(shape: tuple[int | str, ...], found: bool) -> None:
    nodes = [*NORM[:-1], node("Div", ["c", "s"], ["y"])]
    if not shape:
        nodes = [
            node("ReduceMean", ["x"], ["m"]),
            node("Sub", ["x", "m"], ["c"]),
            node("Mul", ["c", "c"], ["v"]),
            *nodes[-3:],
        ]
    assert words(named(nodes, shape)) == (["LayerNormalization"] if found else [each.op_type for each in nodes])


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
def test_epsilon_and_gain_of_any_size_are_found(size: float) -> None:
    """Of two small constants one is the epsilon; a small gain is neither nothing nor the epsilon."""
    gain = np.float32(size) * (2 + random(6, seed=4))
    nodes = [
        *NORM[:-3],
        node("Add", ["v", "eps"], ["w"]),
        *NORM[-2:],
        node("Mul", ["n", "small"], ["h"]),
        node("Mul", ["h", "own"], ["y"]),
    ]
    (norm,) = (graph := named(nodes, eps=5e-3, small=1e-3, own=gain)).nodes
    assert attribute(norm, "epsilon") == pytest.approx(5e-3)
    assert len(norm.input) == 2
    np.testing.assert_allclose(graph.constants[norm.input[1]], 1e-3 * gain, rtol=1e-3)


def test_a_large_epsilon_is_none() -> None:
    nodes = [*NORM[:-3], node("Add", ["v", "eps"], ["w"]), NORM[-2], node("Div", ["c", "s"], ["y"])]
    assert words(named(nodes, eps=0.01)) == ["LayerNormalization"]
    assert "LayerNormalization" not in words(named(nodes, eps=0.1))


BENT = ["Abs", "Mul", "Add", "Mul"]


@pytest.mark.parametrize(("share", "found"), [(1e-4, True), (1.2e-3, False)])
@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_a_norm_with_a_bend_is_none_beyond_rounding(share: float, found: bool, size: float) -> None:
    """A share of the magnitudes of what was normalised is added to it."""
    bend = [
        node("Abs", ["n"], ["b"]),
        node("Mul", ["b", "share"], ["h"]),
        node("Add", ["n", "h"], ["j"]),
        node("Mul", ["j", "size"], ["y"]),
    ]
    straight = ["LayerNormalization"]
    assert words(named([*NORM, *bend], share=share, size=size)) == (straight if found else [*straight, *BENT])


def test_constants_along_other_axes_are_no_gain() -> None:
    for gain in (np.full((6, 1), 2.0), np.full((5, 6), 2.0), np.full((6, 1, 1), 2.0)):
        graph = named(
            [*NORM, node("Mul", ["n", "own"], ["y"])], (6, 6, 6) if gain.shape[0] == 6 else ("N", 5, 6), own=gain
        )
        assert {each.op_type for each in graph.nodes} == {"LayerNormalization", "Mul"}


def test_what_is_written_is_taken_rather_than_what_was_fitted() -> None:
    (norm,) = (graph := named([*NORM, *AFFINE])).nodes
    np.testing.assert_array_equal(graph.constants[norm.input[1]], NUMBERS["gain"])
    (norm,) = (graph := named([*NORM[:-1], node("Div", ["c", "s"], ["y"])])).nodes
    assert graph.constants[norm.input[1]].tolist() == [1.0] * 6
    (norm,) = (graph := named([*NORM, node("Add", ["n", "shift"], ["y"])])).nodes
    assert graph.constants[norm.input[1]].tolist() == [1.0] * 6
    np.testing.assert_array_equal(graph.constants[norm.input[2]], NUMBERS["shift"])


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
