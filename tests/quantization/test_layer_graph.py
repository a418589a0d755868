"""What a quantised model computes, in which precision, and who reads whom."""

import numpy as np
from onnx import helper

from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.layer_graph import LayerNode, layer_graph
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import model, random

node = helper.make_node


def graph_of(*keep_float: str) -> dict[str, LayerNode]:
    net = model(
        [
            node("Conv", ["x", "first.weight"], ["a"], name="one"),
            node("Relu", ["a"], ["r"], name="relu"),
            node("Conv", ["r", "second.weight"], ["b"], name="two"),
            node("Add", ["b", "r"], ["y"], name="sum"),
        ],
        {name: random(3, 3, 1, 1, seed=index) for index, name in enumerate(("first.weight", "second.weight"))},
    )
    x = random(8, 3, 6, 6, seed=9).astype(np.float32)
    nodes = layer_graph(calibrate(net, SCHEMES["int8-asymmetric"], [{"x": x}], keep_float))
    assert [one.kind for one in nodes] == ["Conv", "Relu", "Conv", "Add"]
    return {f"{one.kind} {one.layer}": one for one in nodes}


def test_quantisers_are_left_out_and_readers_joined_across_them() -> None:
    nodes = graph_of()
    first, relu, second, total = nodes.values()
    assert (first.layer, second.layer) == ("first", "second")
    assert first.reads == ()
    assert (relu.reads, second.reads) == ((first.id,), (relu.id,))
    assert set(total.reads) == {second.id, relu.id}


def test_what_stays_in_float_says_why() -> None:
    nodes = graph_of("second")
    assert nodes["Conv first"].precision == "int8"
    assert nodes["Conv first"].why is None
    assert nodes["Conv second"].precision == "float"
    assert nodes["Conv second"].why
