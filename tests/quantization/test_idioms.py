"""Each rule by itself: what it rewrites computes the same, and what only looks like it stays."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.backends.reference import Reference
from edgekd.onnx_graph import Graph, inferred
from edgekd.quantization.idioms import (
    name_clips,
    name_global_pools,
    name_prepended_constants,
    name_splits,
    name_squeezes,
    name_sums,
)
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node
Nodes = list[onnx.NodeProto]


def rewritten(rule: Callable[[Graph], None], net: onnx.ModelProto, shape: tuple[int, ...]) -> list[str]:
    """The words that a rule leaves, of a model that still computes the same."""
    graph = Graph(inferred(net))
    rule(graph)
    named, x = graph.model(), random(*shape, seed=9)
    onnx.checker.check_model(named, full_check=True)
    expected, found = (Reference(each).run({"x": x}) for each in (net, named))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)  # means in another order
    return kinds(named)


@pytest.mark.parametrize(
    ("shape", "axes", "keep", "words"),
    [
        (("N", 3, 4, 5), [2, 3], 1, ["GlobalAveragePool"]),
        (("N", 3, 4, 5), [-1, -2], None, ["GlobalAveragePool"]),
        (("N", 3, 4, 5), [2, 3], 0, ["GlobalAveragePool", "Flatten"]),
        (("N", 3, 4), [2], 1, ["GlobalAveragePool"]),
        (("N", 3, 4, 5), [2], 1, ["ReduceMean"]),
        (("N", 3, 4, 5), [1, 2, 3], 1, ["ReduceMean"]),
        (("N", 3, 4, 5), [1, 2], 1, ["ReduceMean"]),
        (("N", 3, 4, 5), None, 1, ["ReduceMean"]),
        (("N", 3), [], 1, ["ReduceMean"]),
    ],
)
def test_means_of_whole_maps_alone_are_global_pools(
    shape: tuple[str | int, ...], axes: list[int] | None, keep: int | None, words: list[str]
) -> None:
    operands = ["x"] if axes is None else ["x", "axes"]
    nodes = [node("ReduceMean", operands, ["y"], **({} if keep is None else {"keepdims": keep}))]
    values = {} if axes is None else {"axes": np.array(axes, np.int64)}
    net = model(nodes, values, shape, output_rank=2 if keep == 0 else len(shape))
    assert rewritten(name_global_pools, net, (2, *map(int, shape[1:]))) == words


def test_largest_whole_numbers_are_no_global_pool() -> None:
    ends = node("Cast", ["x"], ["i"], to=TensorProto.INT32), node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)
    net = model([ends[0], node("ReduceMax", ["i", "axes"], ["m"]), ends[1]], {"axes": np.array([2, 3])})
    assert rewritten(name_global_pools, net, (2, 3, 6, 6)) == ["Cast", "ReduceMax", "Cast"]


@pytest.mark.parametrize(
    ("index", "axis", "rank", "word"),
    [
        (np.array(0), 2, 3, "Squeeze"),
        (np.array(-1), -2, 3, "Squeeze"),
        (np.array(0), None, 3, "Squeeze"),
        (np.array(0), 1, 3, "Gather"),
        (np.array([0]), 2, 4, "Gather"),
    ],
)
def test_what_is_taken_of_an_axis_of_one_alone_is_squeezed(
    index: np.ndarray, axis: int | None, rank: int, word: str
) -> None:
    gather = node("Gather", ["x", "i"], ["y"], **({} if axis is None else {"axis": axis}))
    net = model([gather], {"i": index}, (1, 3, 1, 5), output_rank=rank)
    assert rewritten(name_squeezes, net, (1, 3, 1, 5)) == [word]


def test_an_index_that_is_computed_stays() -> None:
    nodes = [
        node("Shape", ["x"], ["s"], start=2, end=3),
        node("Squeeze", ["s"], ["n"]),
        node("Sub", ["n", "one"], ["i"]),
        node("Gather", ["x", "i"], ["y"], axis=2),
    ]
    net = model(nodes, {"one": np.array(1)}, (1, 3, 1, 5), output_rank=3)
    assert rewritten(name_squeezes, net, (1, 3, 1, 5))[-1] == "Gather"


DEEP = np.full((1, 1, 1, 1, 1), -0.5, np.float32)
LOW, HIGH, EACH = np.array(-0.5, np.float32), np.array([0.25], np.float32), random(3, 1, 1, seed=3)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Max", ["x", "low"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Clip"]),
        ([node("Max", ["low", "x"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "each"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "low"], ["a"]), node("Min", ["a", "each"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "deep"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "low", "each"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "low"], ["a"]), node("Min", ["a", "high", "each"], ["y"])], ["Max", "Min"]),
        ([node("Max", ["x", "low"], ["a"]), node("Min", ["a", "x"], ["y"])], ["Max", "Min"]),
        ([node("Add", ["x", "low"], ["a"]), node("Min", ["a", "high"], ["y"])], ["Add", "Min"]),
        ([node("Max", ["x", "low"], ["a"]), node("Max", ["a", "high"], ["y"])], ["Max", "Max"]),
        ([node("Min", ["x", "high"], ["y"])], ["Min"]),
        (
            [node("Max", ["x", "low"], ["a"]), node("Min", ["a", "high"], ["b"]), node("Add", ["a", "b"], ["y"])],
            ["Max", "Min", "Add"],
        ),
    ],
)
def test_one_number_on_each_side_is_a_clip(nodes: Nodes, words: list[str]) -> None:
    read = {name for each in nodes for name in each.input}
    known = {"low": LOW, "high": HIGH, "each": EACH, "deep": DEEP}
    values = {name: value for name, value in known.items() if name in read}
    net = model(nodes, values, output_rank=5 if "deep" in read else 4)
    assert rewritten(name_clips, net, (2, 3, 6, 6)) == words


def pieces(*places: int, **options: int) -> Nodes:
    """SplitToSequence of x, and the pieces at some places joined in that order."""
    names = [f"p{index}" for index in range(len(places))]
    takers = [node("SequenceAt", ["s", f"i{place}"], [name]) for place, name in zip(places, names, strict=True)]
    split = node("SplitToSequence", ["x", "size"], ["s"], name="cut", **options)
    return [split, *takers, node("Concat", names, ["y"], axis=options.get("axis", 0))]


@pytest.mark.parametrize(
    ("nodes", "size", "sizes"),
    [
        (pieces(0, 1, axis=1), np.array(3), [3, 2]),
        (pieces(1, -2, axis=1), np.array(3), [3, 2]),
        (pieces(0, 1, 2, axis=1), np.array([1, 3, 1]), [1, 3, 1]),
        (pieces(2, 0, axis=1), np.array(2), [2, 2, 1]),
        (pieces(1, 0), np.array(2), [2, 2]),
        (pieces(0, 0, axis=1), np.array(3), None),
    ],
)
def test_pieces_that_are_taken_one_by_one_are_split(nodes: Nodes, size: np.ndarray, sizes: list[int] | None) -> None:
    places = {name: np.array(int(name[1:])) for each in nodes for name in each.input if name[0] == "i"}
    net = model(nodes, {"size": size, **places}, (4, 5, 6), output_rank=3)
    words = rewritten(name_splits, net, (4, 5, 6))
    assert (words == ["Split", "Concat"]) == (sizes is not None)
    graph = Graph(inferred(net))
    name_splits(graph)
    held = constants(graph.model())
    assert sizes is None or list(held["cut_sizes"]) == sizes


ZERO = {"i0": np.array(0)}
SPLIT, TAKEN = node("SplitToSequence", ["x", "size"], ["s"], axis=1), node("SequenceAt", ["s", "i0"], ["p"])


@pytest.mark.parametrize(
    ("nodes", "values", "rank"),
    [
        pytest.param(
            [node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0), node("SequenceAt", ["s", "i0"], ["y"])],
            ZERO, 2,
            id="loses the axis",
        ),
        pytest.param(
            [SPLIT, TAKEN, node("ConcatFromSequence", ["s"], ["c"], axis=1), node("Add", ["c", "p"], ["y"])],
            {"size": np.array(5), **ZERO}, 3, id="joined as a whole",
        ),
        pytest.param(
            [
                *(SPLIT, TAKEN, node("SequenceLength", ["s"], ["n"]), node("Cast", ["n"], ["f"], to=1)),
                node("Add", ["p", "f"], ["y"]),
            ],
            {"size": np.array(5), **ZERO}, 3, id="counted",
        ),
    ],
)  # fmt: skip
def test_sequences_that_are_more_than_split_stay(nodes: Nodes, values: dict[str, np.ndarray], rank: int) -> None:
    net = model(nodes, values, (4, 5, 6), output_rank=rank)
    assert rewritten(name_splits, net, (4, 5, 6))[0] == "SplitToSequence"


def test_equal_pieces_of_an_unknown_length_stay() -> None:
    values = {"size": np.array(2), "i1": np.array(1), **ZERO}
    net = model(pieces(0, 1, axis=1), values, (4, "C", 6), output_rank=3)
    assert rewritten(name_splits, net, (4, 4, 6))[0] == "SplitToSequence"


def beside(*edges: str, axis: int, token: tuple[int, ...], target: tuple[int, ...]) -> onnx.ModelProto:
    """Concat of x, (N, 2, 3, 4), and a constant that is repeated for each sample."""
    nodes = [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Concat", ["s", "rest"], ["target"], axis=0),
        node("Expand", ["token", "target"], ["t"]),
        node("Concat", list(edges), ["y"], axis=axis),
    ]
    return model(nodes, {"token": random(*token), "rest": np.array(target)}, ("N", 2, 3, 4))


@pytest.mark.parametrize("axis", [1, 2, 3, -2])
@pytest.mark.parametrize("edges", [("t", "x"), ("x", "t")])
def test_a_constant_beside_every_sample_is_padded_and_added(edges: tuple[str, str], axis: int) -> None:
    token = [1, 2, 3, 4]
    token[axis] = 5
    net = beside(*edges, axis=axis, token=tuple(token), target=tuple(token[1:]))
    assert rewritten(name_prepended_constants, net, (2, 2, 3, 4))[-2:] == ["Pad", "Add"]


@pytest.mark.parametrize(
    ("axis", "token", "target"),
    [(2, (1, 1, 5, 4), (2, 5, 4)), (1, (1, 5, 3, 1), (5, 3, 4)), (1, (1, 1, 1, 1), (1, 3, 4))],
)
@pytest.mark.parametrize("edges", [("t", "x"), ("x", "t")])
def test_a_constant_that_is_repeated_along_other_axes_is_written_out(
    edges: tuple[str, str], axis: int, token: tuple[int, ...], target: tuple[int, ...]
) -> None:
    net = beside(*edges, axis=axis, token=token, target=target)
    assert rewritten(name_prepended_constants, net, (2, 2, 3, 4))[-2:] == ["Pad", "Add"]


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(beside("t", "x", axis=1, token=(5, 3, 4), target=(5, 3, 4)), id="of a lower rank"),
        pytest.param(beside("t", "x", axis=0, token=(1, 2, 3, 4), target=(2, 3, 4)), id="more samples"),
        pytest.param(beside("t", "x", "x", axis=1, token=(1, 5, 3, 4), target=(5, 3, 4)), id="among three"),
        pytest.param(beside("t", "t", axis=1, token=(1, 5, 3, 4), target=(5, 3, 4)), id="twice"),
        pytest.param(beside("x", "x", axis=1, token=(1, 5, 3, 4), target=(5, 3, 4)), id="no constant"),
    ],
)
def test_other_constants_beside_samples_stay(net: onnx.ModelProto) -> None:
    assert rewritten(name_prepended_constants, net, (2, 2, 3, 4))[-1] == "Concat"


def test_a_repeated_constant_of_another_batch_or_of_unknown_size_stays() -> None:
    net = model(
        [node("Expand", ["token", "target"], ["t"]), node("Concat", ["t", "x"], ["y"], axis=1)],
        {"token": random(2, 1, 3), "target": np.array([2, 1, 3])},
        (2, 4, 3),
        output_rank=3,
    )
    assert rewritten(name_prepended_constants, net, (2, 4, 3)) == ["Expand", "Concat"]
    net.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(random(1, 1, 3), "token"))
    net.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    assert rewritten(name_prepended_constants, net, (2, 4, 3)) == ["Expand", "Concat"]


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        ("Sum", 1, ["Relu", "Identity"]),
        ("Sum", 2, ["Relu", "Add"]),
        ("Sum", 3, ["Relu", "Add", "Add"]),
        ("Mean", 1, ["Relu", "Identity"]),
        ("Mean", 3, ["Relu", "Add", "Add", "Mul"]),
    ],
)
def test_sums_and_means_are_additions_of_two(kind: str, count: int, words: list[str]) -> None:
    nodes = [node("Relu", ["x"], ["r"]), node(kind, ["r", "c", "x"][:count], ["y"], name="total")]
    net = model(nodes, {"c": random(3, 1, 5)}, ("N", 3, 4, 5))
    assert rewritten(name_sums, net, (2, 3, 4, 5)) == words


def test_a_mean_of_halves_stays_one_of_halves() -> None:
    half = node("Cast", ["x"], ["h"], to=onnx.TensorProto.FLOAT16)
    nodes = [half, node("Mean", ["h", "h"], ["m"]), node("Cast", ["m"], ["y"], to=onnx.TensorProto.FLOAT)]
    assert rewritten(name_sums, model(nodes, {}), (2, 3, 6, 6)) == ["Cast", "Add", "Mul", "Cast"]
