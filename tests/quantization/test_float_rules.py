"""What stays in float, and which edges integer kernels make."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import NodeProto, helper

from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.float_rules import float_rules, tail_of
from edgekd.quantization.graph_ir import ACTIVATIONS, FIXED, PASS_THROUGH, POOLS, Op, View
from edgekd.quantization.kernels import chain_ends, inner_outputs, is_lone_norm
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import SCHEMES
from edgekd.quantization.selection import Kept
from edgekd.quantization.sensitivity import nearness
from tests.quantization.onnx_models import model, random
from tests.quantization.test_placement import op, view

node = helper.make_node
ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
FOLLOWS = sorted(PASS_THROUGH | ACTIVATIONS | POOLS | {"Concat"})


def found(net: View, scheme: str = "int8-asymmetric", kept: Kept | None = None) -> tuple[set[str], set[str]]:
    """The operations in float, by the first edge of each, and the edges that integer kernels make."""
    rules = float_rules(net, SCHEMES[scheme], kept or Kept())
    return {each.outputs[0] for each in rules.ops}, set(rules.integer)


@pytest.mark.parametrize("kind", [*FOLLOWS, "BatchNormalization"])
def test_what_follows_an_integer_kernel_makes_integers_too(kind: str) -> None:
    """Not fused, since something else reads the kernel's result."""
    net = view(
        op("Conv", "x", "a"), op(kind, "a", "b"), op("Conv", "a", "c"), op("Add", "b c", "d"), op("Conv", "d", "y")
    )
    assert found(net) == (set(), {"x", "a", "b", "c", "d", "y"})


@pytest.mark.parametrize("kind", FOLLOWS)
def test_what_follows_a_float_operation_makes_floats(kind: str) -> None:
    net = view(
        op("Erf", "x", "e"), op(kind, "e", "b"), op("Conv", "x", "c"), op("Add", "b c", "d"), op("Conv", "d", "y")
    )
    assert found(net) == ({"d"} | ({"b"} if kind in POOLS else set()), {"x", "c", "y"})


@pytest.mark.parametrize("kind", sorted(FIXED))
def test_layers_and_squashing_functions_make_integers_of_anything(kind: str) -> None:
    net = view(op("Erf", "x", "e"), op(kind, "e", "b"), op("Concat", "b x", "d"), op("Conv", "d", "y"))
    assert found(net) == (set(), {"x", "b", "d", "y"})


@pytest.mark.parametrize(("scheme", "squared"), [("int8-asymmetric", True), ("ethos-w8a8", False)])
def test_a_square_that_is_averaged_is_float_where_a_target_has_floats(scheme: str, squared: bool) -> None:
    def net(square: str, *reader: Op) -> View:
        last = op("Conv", "m", "y")
        return view(op("Conv", "x", "a"), op("Conv", "x", "c"), op("Mul", square, "s"), *reader, last)

    mean = op("GlobalAveragePool", "s", "m")
    assert found(net("a a", mean), scheme)[0] == ({"s", "m"} if squared else set())
    assert found(net("a c", mean), scheme)[0] == set()
    assert found(net("a a", op("Conv", "s", "m")), scheme)[0] == set()


@pytest.mark.parametrize("square", [node("Mul", ["h", "h"], ["s"]), node("Pow", ["h", "two"], ["s"])])
@pytest.mark.parametrize("inverse", ["Div", "Reciprocal"])
def test_a_norm_by_root_mean_squares_stays_near_float_however_it_is_spelled(square: NodeProto, inverse: str) -> None:
    """Rows whose magnitudes differ by ten: an integer square would hold next to nothing of the small ones."""
    divided = [node("Div", ["h", "r"], ["n"])]
    if inverse == "Reciprocal":
        divided = [node("Reciprocal", ["r"], ["i"]), node("Mul", ["h", "i"], ["n"])]
    nodes = [
        node("MatMul", ["x", "a.weight"], ["h"]), square, node("ReduceMean", ["s", "axes"], ["m"]),
        node("Add", ["m", "eps"], ["e"]), node("Sqrt", ["e"], ["r"]), *divided,
        node("Mul", ["n", "gain"], ["g"]), node("MatMul", ["g", "b.weight"], ["y"]),
    ]  # fmt: skip
    values = {"two": np.float32(2), "axes": np.array([-1]), "eps": np.float32(1e-6), "gain": 1 + random(32, seed=3)}
    weights = {"a.weight": random(32, 32, seed=1), "b.weight": random(32, 8, seed=2)}
    net = model(nodes, values | weights, ("N", 16, 32), output_rank=3)
    x = {"x": random(32, 16, 32, seed=5) * np.geomspace(0.4, 4, 16, dtype=np.float32)[None, :, None]}
    quantized = calibrate(net, ASYMMETRIC, [x])
    assert nearness(Reference(net).run(x), Reference(quantized).run(x), {}).db > 24  # of 24.9; 2.6 by integer squares


def test_a_layer_makes_integers_of_what_is_float_and_what_fuses_into_it_does() -> None:
    net = view(op("Erf", "x", "e"), op("Conv", "e", "a"), op("Add", "a", "b"), op("Relu", "b", "y"))
    assert found(net) == (set(), {"x", "a", "b", "y"})


def test_an_unknown_operation_or_a_bias_of_its_own_makes_floats() -> None:
    net = view(
        op("Conv", "x", "a"), op("Erf", "a", "e"), op("Add", "a", "b"), op("Add", "e b", "d"), op("Conv", "d", "y")
    )
    assert found(net) == ({"d"}, {"x", "a", "y"})


def test_a_scheme_without_a_kernel_makes_floats_and_so_does_what_fuses_there() -> None:
    net = view(
        op("Conv", "x", "a"), op("Mul", "a x", "m"), op("Relu", "m", "r"), op("Add", "r a", "d"), op("Conv", "d", "y")
    )
    assert found(net) == (set(), {"x", "a", "m", "r", "d", "y"})
    assert found(net, "int8-symmetric") == ({"d"}, {"x", "a", "y"})


def test_what_a_user_keeps_is_float_and_carries_no_integers() -> None:
    net = view(op("Conv", "x", "a"), op("Conv", "a", "b"), op("Conv", "b", "y"))
    assert found(net, kept=Kept(frozenset({net.ops[1]}))) == ({"b"}, {"x", "a", "y"})
    assert found(net, kept=Kept(frozenset(), frozenset({"x", "b"}))) == (set(), {"a", "y"})


@pytest.mark.parametrize("kind", ["Add", "Mul", "Softmax"])
@pytest.mark.parametrize(
    ("reader", "idle"),
    [
        (op("LayerNormalization", "i", "r"), True),
        (op("Attention", "i", "r"), True),
        (op("MatMul", "i x", "r"), True),
        (op("MatMul", "i", "r"), False),
        (op("Erf", "i", "r"), False),
        (op("Conv", "i", "r"), False),
    ],
)
@pytest.mark.parametrize("moved", [False, True])
def test_what_floats_alone_read_idles_through_moves(kind: str, reader: Op, idle: bool, moved: bool) -> None:
    inputs = "s" if kind == "Softmax" else "s x"
    ops = [op("Conv", "x", "s"), op(kind, inputs, "h" if moved else "i"), reader, op("Conv", "r", "y")]
    net = view(*ops[:2], *([op("Transpose", "h", "i")] if moved else []), *ops[2:])
    assert (("h" if moved else "i") in found(net)[0]) == idle


def test_what_leaves_the_network_or_another_reader_takes_in_integers_is_not_idle() -> None:
    ops = op("Conv", "x", "s"), op("Add", "s x", "i"), op("LayerNormalization", "i", "n"), op("Conv", "n", "y")
    assert found(view(*ops))[0] == {"i"}
    assert found(view(*ops, outputs="y i"))[0] == set()
    assert found(view(*ops, op("Conv", "i", "z"), outputs="y z"))[0] == set()


def test_idle_sums_of_sums_are_found_from_the_last() -> None:
    ops = op("Conv", "x", "s"), op("Add", "s x", "i"), op("Add", "i x", "j"), op("LayerNormalization", "j", "n")
    assert found(view(*ops, op("Conv", "n", "y")))[0] == {"i", "j"}
    assert found(view(*ops, op("Conv", "n", "z"), op("Conv", "j", "y")))[0] == set()


def names(ops: frozenset[Op]) -> set[str]:
    return {each.name for each in ops}


def test_the_tail_is_what_no_layer_follows_but_for_moves_of_what_layers_make() -> None:
    net = view(
        op("Conv", "x", "a"), op("Sigmoid", "a", "s"), op("Mul", "a s", "m"), op("Conv", "m", "b"),
        op("Relu", "b", "c"), op("Transpose", "c", "t"), op("Reshape", "t", "u"), op("Exp", "u", "e"),
        op("Flatten", "e", "y"),
    )  # fmt: skip
    assert names(tail_of(net)) == {"e", "y"}
    assert float_rules(net, ASYMMETRIC, Kept()).tail == tail_of(net)
    assert float_rules(net, replace(ASYMMETRIC, float_tail=False), Kept()).tail == frozenset()


def test_arithmetic_and_norms_alone_may_be_the_tail() -> None:
    mean = Op("y", "Conv", ("s",), ("y",), constant=True, arithmetic=True)
    assert names(tail_of(view(op("Conv", "x", "a"), op("Softmax", "a", "s"), mean))) == {"s", "y"}
    norm = op("BatchNormalization", "e", "n"), op("Relu", "n", "y")
    assert names(tail_of(view(op("Conv", "x", "a"), op("Erf", "a", "e"), *norm))) == set()
    assert names(tail_of(view(op("Exp", "x", "a"), op("MaxPool", "a", "y")))) == {"a", "y"}


def test_a_move_of_an_input_or_of_nothing_is_no_tail() -> None:
    net = view(op("Conv", "x", "a"), op("Reshape", "x", "r"), outputs="a r")
    assert names(tail_of(net)) == set()


@pytest.mark.parametrize(
    ("ops", "lone"),
    [
        ((op("Conv", "x", "a"), op("BatchNormalization", "a", "y")), False),
        ((op("BatchNormalization", "x", "y"),), True),
        ((op("Relu", "x", "a"), op("BatchNormalization", "a", "y")), True),
        ((op("Conv", "x", "a"), op("BatchNormalization", "a", "b"), op("Add", "a b", "y")), True),
    ],
)
def test_a_norm_is_lone_where_no_layer_takes_it_in(ops: tuple[Op, ...], lone: bool) -> None:
    net = view(*ops)
    norms = [each for each in ops if each.kind == "BatchNormalization"]
    assert [is_lone_norm(net, each) for each in norms] == [lone]
    assert not is_lone_norm(net, op("Relu", "x", "z"))


@pytest.mark.parametrize(
    ("ops", "inner"),
    [
        ("Conv Add Relu", 3), ("Conv BatchNormalization Clip", 3), ("Conv Relu Relu", 2), ("Conv Add Add Relu", 2),
        ("Conv Sigmoid", 1), ("MatMul Add Relu", 3), ("Gemm Relu", 2), ("BatchNormalization Relu", 2),
        ("BatchNormalization Add Relu", 1),
    ],
)  # fmt: skip
def test_a_kernel_is_a_layer_its_bias_or_norm_and_one_activation(ops: str, inner: int) -> None:
    edges = ["x", "a", "b", "c", "d"]
    net = view(*(op(kind, edges[i], edges[i + 1]) for i, kind in enumerate(ops.split())), outputs="z")
    end = chain_ends(net)[net.ops[0]]
    assert inner_outputs(net, net.ops[0], end) == edges[1 : 1 + inner]


def test_a_join_is_a_kernel_with_one_activation_and_sums_with_constants_are_none() -> None:
    net = view(op("Mul", "x x", "a"), op("Relu", "a", "b"), op("Add", "b", "c"), op("Mul", "c", "d"), outputs="d")
    assert chain_ends(net) == {net.ops[0]: "b"}
