import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.float_fallback import asked_layers, float_layers
from edgekd.quantization.qdq import insert_activations, quantize_weights
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.onnx_models import model, random

node = helper.make_node
X = random(4, 3, 6, 6, seed=9)


def convolved(*nodes: onnx.NodeProto, **values: np.ndarray) -> onnx.ModelProto:
    """A convolution, the given nodes from "a" to "b", another convolution."""
    first, last = node("Conv", ["x", "v"], ["a"], name="first"), node("Conv", ["b", "w"], ["y"], name="last")
    return model([first, *nodes, last], {"v": random(4, 3, 1, 1), "w": random(4, 4, 1, 1), **values})


def in_float(net: onnx.ModelProto, scheme: str = "int8-asymmetric", **options: list[str]) -> list[str]:
    return [str(layers) for layers in float_layers(calibrate(net, SCHEMES[scheme], [{"x": X}], **options))]


def test_a_network_of_integer_kernels_has_no_island() -> None:
    pads = {"p": np.array([0, 0, 1, 1, 0, 0, 0, 0])}
    relu, pad = node("Relu", ["a"], ["r"]), node("Pad", ["r", "p"], ["b"])
    assert in_float(convolved(relu, pad, **pads)) == []


def test_what_has_no_integer_kernel_is_named_with_what_follows_from_it() -> None:
    found = in_float(convolved(node("Erf", ["a"], ["e"], name="erf"), node("Elu", ["e"], ["b"], name="elu")))
    assert found == [
        "Erf in float at erf: between quantisers, but without an integer kernel in most runtimes",
        "Elu in float at elu: no quantiser at its input 'e', which Erf makes",
    ]


def test_kept_layers_are_named() -> None:
    found = in_float(convolved(node("Relu", ["a"], ["b"])), keep_float=["last"])
    assert found == ["Conv in float at last: its weight is not quantised"]


def test_products_with_a_constant_are_named() -> None:
    (found,) = in_float(convolved(node("Mul", ["a", "g"], ["b"], name="gain"), g=random(1, 4, 1, 1)))
    assert found == "Mul in float at gain: its constant operand is not quantised"


@pytest.mark.parametrize(("scheme", "count"), [("int8-asymmetric", 0), ("int8-symmetric", 1)])
def test_transposed_convolutions_are_integers_but_for_tensorrt(scheme: str, count: int) -> None:
    up = node("ConvTranspose", ["a", "u"], ["b"], name="up", strides=[2, 2])
    assert len(in_float(convolved(up, u=random(4, 4, 2, 2)), scheme)) == count


def test_what_follows_the_last_layers_is_one_note() -> None:
    layer, decode = node("Conv", ["x", "v"], ["a"]), node("Sigmoid", ["a"], ["b"], name="scores")
    net = model([layer, decode, node("Mul", ["b", "g"], ["y"], name="gain")], {"v": random(4, 3, 1, 1), "g": X[:1, :1]})
    assert in_float(net) == ["Tail in float at scores, gain: it follows the last layers"]


def test_asked_layers_are_counted_by_their_weights() -> None:
    quantized = calibrate(convolved(node("Relu", ["a"], ["b"])), SCHEMES["int8-asymmetric"], [{"x": X}], ["last"])
    assert asked_layers(quantized) == (1, 1)


AFFINE = Affine(0.1, 128)


def quantized(
    *nodes: onnx.NodeProto, at: str, layers: str = "", shape: int = 4, **values: np.ndarray
) -> onnx.ModelProto:
    """The nodes with quantisers at some edges, and the weights of some layers stored in integers."""
    known = {"v": random(3, 3, 1, 1), "w": random(3, 3, 1, 1, seed=1), "g": np.float32(2)} | values
    read = {name for each in nodes for name in each.input}
    net = model(nodes, {name: np.asarray(value) for name, value in known.items() if name in read}, output_rank=shape)
    plain = insert_activations(net, dict.fromkeys(at.split(), AFFINE), SCHEMES["int8-asymmetric"])
    return quantize_weights(plain, SCHEMES["int8-asymmetric"], layers.split())


def first(inputs: str = "x v", output: str = "a") -> onnx.NodeProto:
    return node("Conv", inputs.split(), [output], name="first")


def last(source: str = "b") -> onnx.NodeProto:
    return node("Conv", [source, "w"], ["y"], name="last")


def middle(kind: str, inputs: str = "a", **options: int) -> onnx.NodeProto:
    return node(kind, inputs.split(), ["b"], name="middle", **options)


SAID = {
    "weight": "its weight is not quantised",
    "operand": "its constant operand is not quantised",
    "product": "a product of two activations, where int8 does not pay",
    "kernel": "between quantisers, but without an integer kernel in most runtimes",
    "output": "no quantiser at its output",
    "tail": "it follows the last layers",
    "x": "no quantiser at its input 'x'",
    "a": "no quantiser at its input 'a', which Conv makes",
    "b": "no quantiser at its input 'b', which Relu makes",
}


@pytest.mark.parametrize(
    ("nodes", "at", "layers", "notes"),
    [
        ((first(), middle("Relu"), last()), "x b y", "first last", ""),
        ((first(), middle("Relu"), last()), "x a b y", "first last", ""),
        ((first(), middle("Add", "a g"), last()), "x b y", "first last", ""),
        ((first(), middle("Sigmoid"), last()), "x a b y", "first last", ""),
        ((first(), middle("Sigmoid"), last()), "x b y", "first last", "Sigmoid a"),
        ((first(), middle("Relu"), last()), "b y", "last", "Conv x, Relu a"),
        ((first(), middle("Relu"), last()), "x b y", "last", "Conv weight, Relu a"),
        ((first(), middle("Relu"), last()), "x a y", "first", "Relu output, Conv b"),
        ((first(), middle("Mul", "a g"), last()), "x a b y", "first last", "Mul operand"),
        ((first(), middle("Mul", "g a"), last()), "x a b y", "first last", "Mul operand"),
        ((first(), middle("Exp"), last()), "x a b y", "first last", "Exp kernel"),
        ((first(), middle("MatMul", "a x"), last()), "x a b y", "first last", ""),
        ((first(), middle("MatMul", "a x"), last()), "a b y", "last", "Conv x, MatMul product"),
        ((first(), middle("MatMul", "x a"), last()), "x b y", "first last", "MatMul product"),
        ((first(), last("a")), "x a", "first last", ""),
        ((first(), last("a")), "x a", "first", "Conv weight"),
        ((first(), node("Relu", ["a"], ["y"], name="end")), "x a", "first", "Tail tail"),
        ((first(), node("Relu", ["a"], ["y"], name="end")), "x y", "first", ""),
        ((node("Exp", ["x"], ["y"], name="end"),), "", "", "Tail tail"),
    ],
)
def test_each_layer_in_float_has_its_reason(
    nodes: tuple[onnx.NodeProto, ...], at: str, layers: str, notes: str
) -> None:
    found = float_layers(quantized(*nodes, at=at, layers=layers))
    expected = [note.split() for note in notes.split(", ") if note]
    assert [(each.kind, each.reason) for each in found] == [(kind, SAID[reason]) for kind, reason in expected]


def test_what_is_computed_from_sizes_is_named() -> None:
    size = [node("Shape", ["x"], ["s"], end=1), node("Cast", ["s"], ["f"], to=1, name="cast")]
    net = quantized(*size, node("Add", ["x", "f"], ["a"]), last("a"), at="x a")
    note, *_ = float_layers(net)
    assert (note.kind, note.names, note.reason) == ("Cast", ("cast",), "computed from tokens, masks or constants")


def test_more_than_three_names_are_counted_and_the_tail_is_one_note() -> None:
    for count, more in ((3, ""), (4, " and 1 more"), (5, " and 2 more")):
        edges = ["a", *(f"y{index}" for index in range(count - 1)), "y"]
        tail = [
            node("Exp" if i % 2 else "Erf", edges[i : i + 1], edges[i + 1 : i + 2], name=f"y{i}") for i in range(count)
        ]
        (note,) = float_layers(quantized(first(), *tail, at="x a", layers="first"))
        assert str(note) == f"Tail in float at y0, y1, y2{more}: it follows the last layers"


def test_results_that_leave_the_network_in_float_or_are_read_there_end_no_kernel() -> None:
    net = quantized(first(), middle("Relu"), last(), at="x b", layers="first last")
    assert float_layers(net) == ()
    net.graph.output.append(helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None))
    assert [each.kind for each in float_layers(net)] == ["Relu"]
    two = first(), middle("Sigmoid"), node("Erf", ["a"], ["e"]), node("Add", ["b", "e"], ["c"]), last("c")
    assert "Sigmoid" in [each.kind for each in float_layers(quantized(*two, at="x b c", layers="first last"))]


@pytest.mark.parametrize(
    ("weight", "bias", "tail"),
    [(np.ones((3, 3, 1, 1)), False, True), (np.ones((3, 3, 1, 1)), True, False), (random(3, 3, 1, 1), False, False)],
)
def test_whole_weights_without_a_bias_are_arithmetic_in_the_tail(weight: np.ndarray, bias: bool, tail: bool) -> None:
    operands = ["b", "k", "c"] if bias else ["b", "k"]
    mean = node("Conv", operands, ["y"], name="mean")
    net = quantized(
        first(), middle("Softmax"), mean, at="x a", layers="first", k=weight.astype(np.float32), c=random(3)
    )
    assert ([each.kind for each in float_layers(net)] == ["Tail"]) == tail


def test_layers_that_are_asked_for_are_those_with_constant_weights() -> None:
    chain = [
        node("Conv", [f"{i or 'x'}", "v" if i else "w"], [f"{i + 1}" if i < 3 else "y"], name=f"c{i}") for i in range(4)
    ]
    assert asked_layers(quantized(*chain, at="x 1 2 3 y", layers="c0 c1 c2")) == (3, 1)
    product = node("MatMul", ["x", "x"], ["y"], name="product")
    assert asked_layers(quantized(product, at="x y")) == (0, 0)
