"""Recurrent layers written step by step, against ONNX Runtime's own."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.backends.recurrent import unroll
from edgekd.backends.shapes import StaticShapes, static_shapes
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph, inferred
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

STEPS, BATCH, INPUTS, SIZE = 3, 2, 4, 5
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def recurrent(kind: str, operands: dict[str, np.ndarray], outputs: str = "y", **options: object) -> onnx.ModelProto:
    """A layer of x, (3, 2, 4); `operands` by their place, as in ONNX."""
    names = ["x", *(f"o{index}" if f"o{index}" in operands else "" for index in range(1, 8))]
    while not names[-1]:
        names.pop()
    nodes = [helper.make_node(kind, names, outputs.split(","), name="layer", hidden_size=SIZE, **options)]
    used = [name for name in outputs.split(",") if name]
    net = model(nodes, operands, (STEPS, BATCH, INPUTS), used[0], output_rank=4 if used[0] == "y" else 3)
    for name in used[1:]:
        net.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 3))
    return net


def weights(kind: str, ways: int = 1, bias: bool = True) -> dict[str, np.ndarray]:
    rows = GATES[kind] * SIZE
    given = {"o1": random(ways, rows, INPUTS, seed=1), "o2": random(ways, rows, SIZE, seed=2)}
    return given | ({"o3": random(ways, 2 * rows, seed=3)} if bias else {})


def unrolled(net: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph(inferred(net))
    unroll(graph, static_shapes(net, 1))
    return graph.model()


def agree(net: onnx.ModelProto) -> list[str]:
    after, x = unrolled(net), {"x": random(STEPS, BATCH, INPUTS, seed=9)}
    expected, found = (Reference(each).run(x) for each in (net, after))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    assert not {"GRU", "LSTM", "RNN"} & set(kinds(after))
    return kinds(after)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"), [("RNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1})]
)
def test_each_direction_with_and_without_biases(kind: str, options: dict[str, int], bias: bool, direction: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    agree(recurrent(kind, weights(kind, ways, bias), "y,last", direction=direction, **options))


@pytest.mark.parametrize(("kind", "outputs"), [("LSTM", ",last"), ("LSTM", ",,cell"), ("LSTM", "y"), ("GRU", ",last")])
def test_what_is_not_read_is_not_made(kind: str, outputs: str) -> None:
    agree(recurrent(kind, weights(kind), outputs))


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(
    ("kind", "options"), [("RNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1})]
)
def test_a_state_that_is_given_is_started_from(kind: str, options: dict[str, int], ways: int) -> None:
    direction = "bidirectional" if ways == 2 else "forward"
    given = {"o5": random(ways, BATCH, SIZE, seed=5)} | (
        {"o6": random(ways, BATCH, SIZE, seed=6)} if kind == "LSTM" else {}
    )
    agree(recurrent(kind, weights(kind, ways) | given, "y,last", direction=direction, **options))


@pytest.mark.parametrize("ways", [1, 2])
def test_gates_look_at_the_cell_through_peepholes(ways: int) -> None:
    direction = "bidirectional" if ways == 2 else "forward"
    given = {"o7": random(ways, 3 * SIZE, seed=7), "o6": random(ways, BATCH, SIZE, seed=6)}
    agree(recurrent("LSTM", weights("LSTM", ways) | given, "y,last,cell", direction=direction))
    blind = {"o7": np.zeros((ways, 3 * SIZE), np.float32)}
    plain = recurrent("LSTM", weights("LSTM", ways), "y,last,cell", direction=direction)
    assert agree(recurrent("LSTM", weights("LSTM", ways) | blind, "y,last,cell", direction=direction)) == agree(plain)


def test_a_state_of_zeros_costs_nothing() -> None:
    plain = agree(recurrent("LSTM", weights("LSTM"), "y,last,cell"))
    zeros = {"o5": np.zeros((1, BATCH, SIZE), np.float32), "o6": np.zeros((1, BATCH, SIZE), np.float32)}
    assert agree(recurrent("LSTM", weights("LSTM") | zeros, "y,last,cell")) == plain
    assert plain.count("MatMul") == 1 + STEPS - 1  # what is given at once, then a product from the second step on


@pytest.mark.parametrize(
    ("kind", "operands", "options", "reason"),
    [
        ("LSTM", {"o4": np.full(BATCH, STEPS, np.int32)}, {}, "sequence_lens"),
        ("LSTM", {}, {"layout": 1}, "layout = 1"),
        ("LSTM", {}, {"clip": 0.5}, "clip"),
        ("LSTM", {}, {"input_forget": 1}, "input_forget"),
        ("RNN", {}, {"activations": ["Relu"]}, "other activations"),
        ("RNN", {}, {"activations": ["Tanh"]}, None),
        ("GRU", {}, {"activations": ["Sigmoid", "Tanh"], "layout": 0}, None),
        ("LSTM", {}, {"activations": ["Sigmoid", "Tanh", "Tanh"], "input_forget": 0}, None),
    ],
)
def test_what_has_no_plain_form_is_refused(
    kind: str, operands: dict[str, np.ndarray], options: dict[str, object], reason: str | None
) -> None:
    net = recurrent(kind, weights(kind) | operands, **options)
    if reason is None:
        agree(net)
    else:
        with pytest.raises(BadInputError, match=f"node 'layer' \\({kind}\\): {reason} is not written out"):
            unrolled(net)


def test_activations_of_both_directions_are_repeated() -> None:
    agree(recurrent("GRU", weights("GRU", 2), direction="bidirectional", activations=["Sigmoid", "Tanh"] * 2))


@pytest.mark.parametrize(("steps", "unrolls"), [(512, True), (513, False)])
def test_512_steps_are_unrolled(steps: int, unrolls: bool) -> None:
    net = recurrent("RNN", weights("RNN"), ",last")
    net.graph.input[0].type.tensor_type.shape.dim[0].dim_value = steps
    if unrolls:
        assert kinds(unrolled(net)).count("Tanh") == steps
    else:
        with pytest.raises(BadInputError, match="513 steps are more than the 512 that are unrolled"):
            unrolled(net)


@pytest.mark.parametrize(
    ("operand", "what"), [("o1", "weights"), ("o2", "weights"), ("o3", "biases"), ("o7", "peepholes")]
)
def test_weights_have_to_be_constants(operand: str, what: str) -> None:
    given = weights("LSTM") | {"o7": random(1, 3 * SIZE, seed=7)}
    computed = recurrent("LSTM", given)
    computed.graph.node.insert(0, helper.make_node("RandomNormal", [], [operand], shape=given[operand].shape))
    computed.graph.initializer.remove(next(each for each in computed.graph.initializer if each.name == operand))
    with pytest.raises(BadInputError, match=f"its {what} are computed"):
        unrolled(computed)


def test_the_number_of_steps_has_to_be_known() -> None:
    with pytest.raises(BadInputError, match="the number of its steps is not known"):
        unroll(Graph(inferred(recurrent("RNN", weights("RNN")))), StaticShapes({}, {}))
