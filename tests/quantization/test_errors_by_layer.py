"""Signal to noise at each layer as float64 sums give it, and the layer's own part."""

import math

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.errors_by_layer import layer_errors
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import model, random

node = helper.make_node
SCHEME = SCHEMES["int8-asymmetric"]
BATCHES = [{"x": random(count, 3, 6, 6, seed=count)} for count in (2, 5)]
FINE, COARSE = Affine(0.05, 128), Affine(0.5, 128)


def decibel(exact: list[np.ndarray], rounded: list[np.ndarray]) -> float:
    signal = noise = 0.0
    for one, other in zip(exact, rounded, strict=True):
        for value, near in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            signal += value**2
            noise += (value - near) ** 2
    return 10 * math.log10(signal / noise)


def layers() -> onnx.ModelProto:
    """Two convolutions with a ReLU and a sum between."""
    nodes = [
        node("Conv", ["x", "a.weight"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Add", ["b", "x"], ["c"], name="sum"),
        node("Conv", ["c", "z.weight"], ["y"]),
    ]
    return model(nodes, {"a.weight": random(3, 3, 1, 1), "z.weight": random(2, 3, 1, 1, seed=1)})


def test_each_layer_has_the_noise_at_its_output_and_loses_what_its_inputs_had_more() -> None:
    plain = layers()
    affines = {"x": FINE, "b": COARSE, "c": FINE, "y": COARSE}
    quantized = insert_activations(plain, affines, SCHEME)
    real, ours = Reference(plain, ["b", "c"]), Reference(quantized, [f"{edge}_dequantized" for edge in "xbc"])
    exact = [batch | real.run(batch) for batch in BATCHES]
    rounded = [ours.run(batch) for batch in BATCHES]
    edges = {"x": "x_dequantized", "b": "b_dequantized", "c": "c_dequantized", "y": "y"}
    sqnr = {edge: decibel([e[edge] for e in exact], [r[name] for r in rounded]) for edge, name in edges.items()}
    expected = {
        "b": ("a", "Conv", sqnr["b"], sqnr["x"] - sqnr["b"]),
        "c": ("sum", "Add", sqnr["c"], min(sqnr["b"], sqnr["x"]) - sqnr["c"]),
        "y": ("z", "Conv", sqnr["y"], sqnr["c"] - sqnr["y"]),
    }
    found = layer_errors(plain, quantized, BATCHES)
    assert [each.lost for each in found] == sorted((each.lost for each in found), reverse=True)
    for each in found:
        layer, kind, ratio, lost = expected.pop(each.edge)
        assert (each.layer, each.kind) == (layer, kind)
        assert (each.sqnr, each.lost) == (pytest.approx(ratio, abs=1e-6), pytest.approx(lost, abs=1e-6))
    assert not expected


def test_what_is_exact_has_120_db_and_no_input_costs_nothing() -> None:
    plain = model([node("Relu", ["x"], ["r"]), node("Floor", ["r"], ["y"], name="floor")], {})
    (exact,) = layer_errors(plain, insert_activations(plain, {"y": Affine(1.0, 0)}, SCHEME), BATCHES)
    assert (exact.sqnr, exact.lost, exact.layer) == (120.0, 0.0, plain.graph.node[0].name or exact.layer)
    nothing = model([node("Sub", ["x", "x"], ["y"], name="none")], {})
    (none,) = layer_errors(nothing, insert_activations(nothing, {"y": Affine(1.0, 3)}, SCHEME), BATCHES)
    assert none.sqnr == 120.0


def test_what_lies_between_is_passed_once_however_often_it_is_read() -> None:
    doubled = [node("Add", [f"d{step}", f"d{step}"], [f"d{step + 1}"]) for step in range(40)]
    plain = model([node("Relu", ["x"], ["d0"]), *doubled, node("Sigmoid", ["d40"], ["y"])], {})
    quantized = insert_activations(plain, {"x": FINE, "y": Affine(1 / 256, 0)}, SCHEME)
    assert [error.edge for error in layer_errors(plain, quantized, BATCHES)] == ["y"]


def test_a_layer_is_said_in_a_line() -> None:
    (worst, *_) = layer_errors(layers(), insert_activations(layers(), {"x": FINE, "y": COARSE}, SCHEME), BATCHES)
    assert str(worst) == f"Conv a: {worst.sqnr:.1f} dB, {worst.lost:.1f} dB of it lost here"


STORED = np.random.default_rng(0).integers(-100, 100, (3, 3, 1, 1)).astype(np.int8)
EACH, POINTS = np.array([0.01, 0.02, 0.03], np.float32), np.array([5, 0, -7], np.int8)


@pytest.mark.parametrize(
    ("operands", "options"),
    [
        ({"w": STORED, "s": np.float32(0.01)}, {}),
        ({"w": STORED, "s": np.float32(0.01), "p": np.int8(3)}, {}),
        ({"w": STORED, "s": EACH}, {}),
        ({"w": STORED, "s": EACH, "p": POINTS}, {"axis": 0}),
        ({"w": STORED, "s": EACH, "p": POINTS}, {"axis": -3}),
        ({"w": STORED, "s": EACH, "p": POINTS}, {"axis": 1}),
    ],
)
def test_stored_weights_stand_for_their_floats(operands: dict[str, np.ndarray], options: dict[str, int]) -> None:
    """Of the original itself nothing is lost but by the one quantiser of the output."""
    nodes = [
        node("DequantizeLinear", list(operands), ["v"], **options),
        node("Conv", ["x", "v"], ["a"]),
        node("DequantizeLinear", ["one", "unit"], ["u"]),
        node("Sub", ["u", "a"], ["y"], name="difference"),
    ]
    numbers = {"one": np.int8(50), "unit": np.float32(0.02)}
    net = model(nodes, {name: np.asarray(value) for name, value in (operands | numbers).items()})
    quantized = insert_activations(net, {"y": COARSE}, SCHEME)
    exact, rounded = ([Reference(each).run(batch)["y"] for batch in BATCHES] for each in (net, quantized))
    (found,) = layer_errors(net, quantized, BATCHES)
    assert found.sqnr == pytest.approx(decibel(exact, rounded), abs=1e-4)  # float32 products in another order
    assert (found.kind, found.lost) == ("Conv", pytest.approx(120 - found.sqnr))


def test_a_quantiser_that_two_read_says_nothing_of_a_layer() -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["a"]),
        node("DequantizeLinear", ["q", "s", "z"], ["b"]),
        node("Add", ["a", "b"], ["y"]),
    ]
    net = model(nodes, {"s": np.array(0.1, np.float32), "z": np.array(3, np.uint8)})
    plain = model([node("Add", ["x", "x"], ["y"])], {})
    assert layer_errors(plain, net, BATCHES) == ()
