"""Norms and linear layers folded: the same numbers as a float64 loop gives, or left as they are."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.onnx_graph import Graph, attribute, inferred
from edgekd.quantization.fold import (
    fold_batch_norms,
    fold_channelwise,
    fold_linear_layers,
    layer_name,
    set_bias,
    set_weight,
)
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
C = 4
NORM = {
    "gamma": random(C, seed=1),
    "beta": random(C, seed=2),
    "mean": random(C, seed=3),
    "variance": np.array([0.0, 1e-6, 0.5, 3.0], np.float32),
}


def folded(net: onnx.ModelProto) -> Graph:
    graph = Graph(inferred(net))
    fold_batch_norms(graph)
    fold_linear_layers(graph)
    return graph


def agree(net: onnx.ModelProto, x: np.ndarray) -> onnx.ModelProto:
    """The folded model, which computes the same."""
    after = folded(net).model()
    onnx.checker.check_model(after, full_check=True)
    expected, found = (Reference(each).run({"x": x})["y"] for each in (net, after))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))  # float32 weights
    return after


def test_the_gain_of_a_norm_goes_into_the_weight_and_its_shift_into_the_bias() -> None:
    weight, bias = random(C, 3, 1, 1), random(C, seed=5)
    norm = node("BatchNormalization", ["a", *NORM], ["y"], epsilon=1e-3)
    net = model([node("Conv", ["x", "c.weight", "c.bias"], ["a"]), norm], {"c.weight": weight, "c.bias": bias, **NORM})
    constants = folded(net).constants
    for c in range(C):
        gain = float(NORM["gamma"][c]) / (float(NORM["variance"][c]) + 1e-3) ** 0.5
        shift = float(NORM["beta"][c]) + gain * (float(bias[c]) - float(NORM["mean"][c]))
        np.testing.assert_allclose(constants["c.weight"][c], gain * weight[c].astype(np.float64), rtol=1e-6)
        assert constants["c.bias"][c] == pytest.approx(shift, rel=1e-6)


def normed(layer: str, weight: np.ndarray, rank: int = 4, **options: int) -> onnx.ModelProto:
    """A layer of x and a batch norm with the default epsilon."""
    nodes = [node(layer, ["x", "w"], ["a"], **options), node("BatchNormalization", ["a", *NORM], ["y"])]
    shape = ("N", C) if layer == "Gemm" else ("N", C, 5, 5)
    return model(nodes, {"w": weight, **NORM}, shape, output_rank=rank)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (normed("Conv", random(C, C, 3, 3)), ["Conv"]),
        (normed("Conv", random(C, 1, 3, 3), group=C), ["Conv"]),
        (normed("ConvTranspose", random(C, C, 2, 2)), ["ConvTranspose"]),
        (normed("ConvTranspose", random(C, C, 2, 2), group=1), ["ConvTranspose"]),
        (normed("ConvTranspose", random(C, 1, 2, 2), group=C), ["ConvTranspose", "Conv"]),
        (normed("Gemm", random(C, C), rank=2), ["Gemm"]),
        (normed("Gemm", random(C, C), rank=2, transB=1), ["Gemm"]),
    ],
)
def test_layers_take_norms_in_along_their_outputs(net: onnx.ModelProto, words: list[str]) -> None:
    rank = len(net.graph.input[0].type.tensor_type.shape.dim)
    assert kinds(agree(net, random(2, C, *[5] * (rank - 2), seed=9))) == words


@pytest.mark.parametrize(
    ("sizes", "word"), [((), "BatchNormalization"), ((5,), "Conv"), ((5, 6), "Conv"), ((2, 5, 6), "Conv")]
)
def test_a_norm_of_no_layer_is_a_depthwise_convolution_of_maps(sizes: tuple[int, ...], word: str) -> None:
    norm = {"beta.bias" if name == "beta" else name: value for name, value in NORM.items()}
    net = model([node("BatchNormalization", ["x", *norm], ["y"])], norm, ("N", C, *sizes), output_rank=2 + len(sizes))
    (found,) = agree(net, random(3, C, *sizes, seed=9)).graph.node
    assert found.op_type == word
    if word == "Conv":
        assert (attribute(found, "group"), attribute(found, "kernel_shape")) == (C, [1] * len(sizes))


@pytest.mark.parametrize("computed", list(NORM))
def test_a_norm_whose_numbers_are_computed_stays(computed: str) -> None:
    operands = ["p" if name == computed else name for name in NORM]
    net = model(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("Abs", [computed], ["p"]),
            node("BatchNormalization", ["a", *operands], ["y"]),
        ],
        {"w": random(C, 3, 1, 1), **NORM},
    )
    assert kinds(folded(net).model())[-1] == "BatchNormalization"


def test_a_layer_that_something_else_sees_or_whose_numbers_are_computed_takes_no_norm_in() -> None:
    norm = node("BatchNormalization", ["a", *NORM], ["b"])
    values = {"w": random(C, 3, 1, 1), **NORM}
    for nodes in (
        [node("Abs", ["beta"], ["c"]), node("Conv", ["x", "w", "c"], ["a"]), norm, node("Relu", ["b"], ["y"])],
        [node("Conv", ["x", "w"], ["a"]), norm, node("Add", ["a", "b"], ["y"])],
        [node("Abs", ["w"], ["v"]), node("Conv", ["x", "v"], ["a"]), norm, node("Relu", ["b"], ["y"])],
        [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["a"]), norm, node("Relu", ["b"], ["y"])],
    ):
        assert kinds(agree(model(nodes, values), random(2, 3, 6, 6, seed=9))).count("Conv") == 2  # the norm is one


def test_a_gemm_that_scales_its_bias_takes_no_norm_in() -> None:
    norm = node("BatchNormalization", ["a", *NORM], ["y"])
    gemm = node("Gemm", ["x", "w", "beta"], ["a"], beta=0.5)
    net = model([gemm, norm], {"w": random(C, C), **NORM}, ("N", C), output_rank=2)
    assert kinds(agree(net, random(5, C, seed=9))) == ["Gemm", "BatchNormalization"]


@pytest.mark.parametrize(
    ("shape", "folds"),
    [((), True), ((1,), True), ((C,), True), ((1, 1), True), ((1, C), True), ((C, 1), False), ((1, 1, C), False)],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_sum_behind_a_product_is_its_bias_where_it_is_one_number_a_channel(
    shape: tuple[int, ...], folds: bool, first: bool
) -> None:
    edges = ["b", "m"] if first else ["m", "b"]
    net = model(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", edges, ["y"])],
        {"w": random(6, C), "b": random(*shape, seed=1)},
        (C, 6),  # as many samples as channels: (C, 1) is a number a sample
        output_rank=max(2, len(shape)),
    )
    assert kinds(agree(net, random(C, 6, seed=9))) == (["Gemm"] if folds else ["Gemm", "Add"])


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("MatMul", ["x", "w"], ["m"]), node("Mul", ["m", "b"], ["y"])], ["Gemm", "Mul"]),
        ([node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "m"], ["y"])], ["Gemm", "Add"]),
        (
            [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["s"]), node("Mul", ["m", "s"], ["y"])],
            ["Gemm", "Add", "Mul"],
        ),
        ([node("MatMul", ["x", "w"], ["y"])], ["Gemm"]),
        ([node("Transpose", ["w"], ["v"]), node("Gemm", ["x", "v"], ["y"], transB=1)], ["Transpose", "Gemm"]),
    ],
)
def test_only_what_is_added_to_all_of_a_product_is_its_bias(nodes: list[onnx.NodeProto], words: list[str]) -> None:
    read = {name for each in nodes for name in each.input}
    values = {name: value for name, value in {"w": random(6, C), "b": random(C, seed=1)}.items() if name in read}
    assert kinds(agree(model(nodes, values, ("N", 6), output_rank=2), random(5, 6, seed=9))) == words


@pytest.mark.parametrize("shape", [None, (), (1,), (C,), (1, C)])
@pytest.mark.parametrize(
    "options", [{}, {"transB": 1}, {"alpha": 0.5}, {"beta": 3.0}, {"alpha": 2.0, "beta": 0.5, "transB": 1}]
)
def test_every_gemm_becomes_the_plain_one(options: dict[str, float], shape: tuple[int, ...] | None) -> None:
    weight = random(6, C)
    values = {"w": weight.T.copy() if "transB" in options else weight}
    values |= {} if shape is None else {"b": random(*shape, seed=1)}
    net = model([node("Gemm", ["x", *values], ["y"], **options)], values, ("N", 6), output_rank=2)
    after = agree(net, random(5, 6, seed=9))
    (gemm,) = after.graph.node
    assert {entry.name: entry.i for entry in gemm.attribute} == {"transB": 1}
    held = Graph(after).constants
    np.testing.assert_allclose(held["w"], weight.T * options.get("alpha", 1), rtol=1e-6)
    if shape is not None:
        expected = np.broadcast_to(values["b"].reshape(-1), C) * options.get("beta", 1)
        np.testing.assert_allclose(held[gemm.input[2]], expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [(C, 1), (C, C)])
def test_what_a_gemm_adds_row_by_row_is_a_sum_behind_it(rows: tuple[int, int]) -> None:
    values = {"w": random(6, C), "b": random(*rows, seed=1)}
    net = model([node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)], values, (C, 6), output_rank=2)
    assert kinds(agree(net, random(C, 6, seed=9))) == ["Gemm", "Add"]


def test_a_gemm_with_a_computed_bias_or_a_transposed_input_stays() -> None:
    bias = [node("Abs", ["b"], ["c"]), node("Gemm", ["x", "w", "c"], ["y"], alpha=0.5)]
    after = agree(model(bias, {"w": random(6, C), "b": random(C)}, ("N", 6), output_rank=2), random(5, 6, seed=9))
    assert {entry.name for entry in after.graph.node[-1].attribute} == {"alpha"}
    turned = model([node("Gemm", ["x", "w"], ["y"], transA=1)], {"w": random(6, C)}, (6, 5), output_rank=2)
    assert {entry.name for entry in agree(turned, random(6, 5, seed=9)).graph.node[0].attribute} == {"transA"}


def test_products_of_sequences_and_of_stacks_of_matrices_stay() -> None:
    for weight in (random(6, C), random(3, 6, C)):
        net = model([node("MatMul", ["x", "w"], ["y"])], {"w": weight}, ("N", 3, 5, 6))
        assert kinds(agree(net, random(2, 3, 5, 6, seed=9))) == ["MatMul"]


def test_a_weight_that_two_layers_share_is_given_to_each() -> None:
    nodes = [
        node("Conv", ["x", "a.weight", "b"], ["c"], name="one"),
        node("Conv", ["c", "a.weight"], ["y"], name="two"),
    ]
    graph = Graph(model(nodes, {"a.weight": random(3, 3, 1, 1), "b": random(3)}))
    one, two = graph.nodes
    set_weight(graph, one, np.ones((3, 3, 1, 1)))
    set_weight(graph, two, np.zeros((3, 3, 1, 1)))
    assert (one.input[1], two.input[1]) == ("a.weight_1", "a.weight")
    assert graph.constants["a.weight_1"].all()
    assert not graph.constants["a.weight"].any()
    assert graph.constants["a.weight"].dtype == np.float32
    assert layer_name(one) == layer_name(two) == "a"
    set_bias(graph, one, np.arange(3))
    set_bias(graph, two, np.arange(3) + 1)
    assert (one.input[2], two.input[2]) == ("a.bias", "a.bias_1")
    set_bias(graph, one, np.arange(3) + 2)
    assert one.input[2] == "a.bias"
    assert graph.constants["a.bias"].tolist() == [2, 3, 4]


def test_what_has_no_weight_of_a_module_keeps_its_own_name() -> None:
    assert layer_name(node("Conv", ["x", "w"], ["y"], name="conv")) == "conv"
    assert layer_name(node("Relu", ["a.weight"], ["y"], name="relu")) == "relu"


def channelwise(net: onnx.ModelProto) -> list[str]:
    """The operations that are left of a network, which computes the same."""
    graph = Graph(inferred(net))
    fold_channelwise(graph)
    after, x = graph.model(), random(2, 3, 6, 6, seed=9)
    expected, found = (Reference(each).run({"x": x})["y"] for each in (net, after))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 weights
    return kinds(after)


ROW, PLACES = random(1, C, 1, 1, seed=6), random(1, C, 6, 6, seed=6)


@pytest.mark.parametrize(
    ("kind", "value", "left"),
    [
        ("Mul", ROW, ["Conv"]),
        ("Add", ROW, ["Conv"]),
        ("Add", ROW[0], ["Conv"]),
        ("Mul", np.float32(0.5), ["Conv"]),
        ("Mul", np.full((1, 1, 1, 1), 0.5, np.float32), ["Conv"]),
        ("Add", PLACES, ["Conv", "Add"]),
        ("Mul", ROW[None], ["Conv", "Mul"]),
        ("Div", ROW, ["Conv", "Div"]),
    ],
)
def test_what_scales_or_shifts_channels_goes_into_the_layer_before(
    kind: str, value: np.ndarray, left: list[str]
) -> None:
    nodes = [node("Conv", ["x", "c.weight"], ["a"]), node(kind, ["a", "v"], ["y"])]
    net = model(nodes, {"c.weight": random(C, 3, 1, 1), "v": np.asarray(value)}, output_rank=max(4, np.ndim(value)))
    assert channelwise(net) == left


@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose"])
def test_a_chain_of_them_goes_there_too(layer: str) -> None:
    weight = random(C, 3, 1, 1) if layer == "Conv" else random(3, C, 1, 1)
    nodes = [node(layer, ["x", "c.weight", "c.bias"], ["a"]), node("Mul", ["v", "a"], ["b"])]
    nodes += [node("BatchNormalization", ["b", *NORM], ["c"]), node("Add", ["c", "v"], ["y"])]
    assert channelwise(model(nodes, {"c.weight": weight, "c.bias": random(C, seed=5), "v": ROW, **NORM})) == [layer]


def test_what_another_reads_too_or_no_constant_makes_stays() -> None:
    weights = {"c.weight": random(C, 3, 1, 1), "v": ROW}
    shared = [node("Conv", ["x", "c.weight"], ["a"]), node("Mul", ["a", "v"], ["b"]), node("Add", ["a", "b"], ["y"])]
    assert channelwise(model(shared, weights)) == ["Conv", "Mul", "Add"]
    made = [node("Conv", ["x", "c.weight"], ["a"]), node("Abs", ["v"], ["w"]), node("Mul", ["a", "w"], ["y"])]
    assert channelwise(model(made, weights)) == ["Conv", "Abs", "Mul"]
    grouped = [node("ConvTranspose", ["x", "t.weight"], ["a"], group=3), node("Mul", ["a", "u"], ["y"])]
    assert channelwise(model(grouped, {"t.weight": random(3, 1, 1, 1), "u": ROW[:, :3]})) == ["ConvTranspose", "Mul"]


def test_a_norm_whose_statistics_are_no_constants_stays() -> None:
    norm = [node("Conv", ["x", "c.weight"], ["a"]), node("Abs", ["beta"], ["b"])]
    norm += [node("BatchNormalization", ["a", "gamma", "b", "mean", "variance"], ["y"])]
    assert channelwise(model(norm, {"c.weight": random(C, 3, 1, 1), **NORM})) == ["Conv", "Abs", "BatchNormalization"]
