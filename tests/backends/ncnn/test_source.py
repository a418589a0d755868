"""What of a model ncnn sees: constants as numbers, axes without the batch, and names that a .param file can hold."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net, quantize, reference

PLAIN = "x = Relu(input) y = Add(x, w)"


def parsed(body: str, inputs: str = "float[n, 2, 3] input", opset: int = 13, outputs: str = "float[n, 2, 3] y") -> Any:
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        net ({inputs}) => ({outputs}) <float[3] w = {{1, 2, 3}}> {{ {body} }}"""
    )


def test_the_oldest_opset_is_13() -> None:
    assert build(parsed(PLAIN), "float").kinds == ["Input", "ReLU", "MemoryData", "BinaryOp"]
    with pytest.raises(BadInputError, match="ONNX opset 12 is too old: export with opset 13 or later"):
        build(parsed(PLAIN, opset=12), "float")


@pytest.mark.parametrize("batch", ["n", "1", "4"])
@pytest.mark.parametrize("listed", ["", ", float[3] w"])
def test_a_batch_that_is_fixed_and_weights_that_are_listed_as_inputs_change_nothing(batch: str, listed: str) -> None:
    """As older exporters have them."""
    model = parsed(PLAIN, f"float[{batch}, 2, 3] input{listed}", outputs=f"float[{batch}, 2, 3] y")
    built, x = build(model, "float"), np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(built.run(x)["y"], np.maximum(x, 0) + np.float32([1, 2, 3]))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2])
@pytest.mark.parametrize("zero", [False, True])
def test_a_stored_operand_is_dequantised_along_its_axis(axis: int | None, zero: bool) -> None:
    """Along axis 1 where none is named."""
    net, held = Net(0, (2, 3, 4)), (2, 3, 4)
    count = held[1 if axis is None else axis]
    stored = net.constant(net.rng.integers(-128, 128, held), np.int8)
    operands = [net.constant(net.rng.uniform(0.01, 0.1, count))]
    operands += [net.constant(net.rng.integers(-5, 6, count), np.int8)] if zero else []
    named = {} if axis is None else {"axis": axis}
    agrees(net, net.op("Add", "input", net.op("DequantizeLinear", stored, *operands, **named)))


@pytest.mark.parametrize("zero", [(), (3,)])
def test_a_stored_operand_of_one_scale_is_dequantised(zero: tuple[int, ...]) -> None:
    net = Net(0, (3, 4))
    stored = net.constant(net.rng.integers(-128, 128, (3, 4)), np.int8)
    operands = [net.constant(0.1), *(net.constant(value, np.int8) for value in zero)]
    agrees(net, net.op("Mul", "input", net.op("DequantizeLinear", stored, *operands)))


@pytest.mark.parametrize("axis", [0, 2, -1, -3])
def test_axes_are_counted_without_a_batch_that_lies_between_them(axis: int) -> None:
    net = Net(0, (4, 6))
    turned = net.op("Transpose", "input", perm=[1, 0, 2])
    agrees(net, net.op("Transpose", net.op("Softmax", turned, axis=axis), perm=[1, 0, 2]))


def test_an_operation_along_the_batch_is_refused() -> None:
    net = Net(0, (4, 6))
    with pytest.raises(BadInputError, match="'softmax_0' .*: it computes along the batch, which ncnn does not have"):
        build(net.model(net.op("Softmax", "input", axis=0)), "float")


def test_rows_that_hold_the_batch_have_all_axes() -> None:
    net = Net(0, (4, 6))
    rows = net.op("Softmax", net.op("Reshape", "input", net.constant([-1, 6], np.int64)), axis=1)
    agrees(net, net.op("Reshape", rows, net.constant([-1, 4, 6], np.int64)))


@pytest.mark.parametrize(
    ("constant", "shape", "first"),
    [((3, 4, 5), (3, 5, 6), True), ((3, 6, 4), (3, 5, 6), False), ((1, 6, 4), (3, 5, 6), 0)],
)
def test_a_product_with_a_constant_of_as_many_axes(
    constant: tuple[int, ...], shape: tuple[int, ...], first: bool
) -> None:
    net = Net(0, shape)
    held = net.constant(net.rng.normal(0, 1, constant))
    found = agrees(net, net.op("MatMul", *((held, "input") if first else ("input", held))))
    assert sorted(found.kinds) == ["Input", "MatMul", "MemoryData"]


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 6)])
def test_a_product_of_two_activations(shape: tuple[int, ...]) -> None:
    net = Net(0, shape)
    turned = net.op("Transpose", "input", perm=[*range(len(shape) - 1), len(shape), len(shape) - 1])
    product = net.op("MatMul", "input", turned)
    agrees(net, product, net.op("MatMul", product, "input"))


def test_shapes_that_follow_each_other_are_one_layer() -> None:
    net = Net(0, (4, 6))
    once = net.op("Reshape", net.relu("input"), net.constant([-1, 8, 3], np.int64))
    twice = net.op("Reshape", once, net.constant([-1, 2, 12], np.int64))
    assert agrees(net, net.op("Neg", twice)).kinds == ["Input", "ReLU", "Reshape", "UnaryOp"]
    found = agrees(net, net.op("Neg", twice), net.op("Abs", once))
    assert found.kinds.count("Reshape") == 2


def test_names_are_words_and_none_is_taken_twice() -> None:
    net = Net(0, (4,))
    y = "input"
    for name in ("a b", "a_b", "a=b", "c,d", ""):
        y = net.op("Relu", y)
        net.nodes[-1].name = name
    names = [layer.name for layer in build(net.model(y), "float").layers]
    assert names[:5] == ["in0", "a_b", "a_b_1", "a_b_2", "c_d"]
    assert len(set(names)) == 6


def test_what_shapes_or_stores_a_tensor_is_named_after_it() -> None:
    net = Net(0, (2, 3, 6))
    y = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    y = net.op("ConvTranspose", y, net.constant(net.rng.normal(0, 0.4, (2, 3, 2, 2))), net.constant(np.arange(3)))
    model = quantize(net.model(net.op("Flatten", y)), net.inputs(32), symmetric=True)
    edges = {edge for node in model.graph.node for edge in (*node.input, *node.output)}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.input[0] in constants}
    helpers = [layer.name for layer in build(model).layers if ":" in layer.name]
    assert {name.partition(":")[2] for name in helpers} >= {"rows", "shape", "quantised", "cast", "dequantised"}
    assert {name.partition(":")[0] for name in helpers} <= edges - constants


@pytest.mark.parametrize("kind", ["float", "int64"])
def test_an_input_that_nobody_reads(kind: str) -> None:
    model = parsed(PLAIN, f"float[n, 2, 3] input, {kind}[n, 5] other")
    if kind == "float":
        assert build(model, "float").kinds.count("Input") == 2
    else:
        with pytest.raises(BadInputError, match=r"^node 'other' \(Input\): input 'other' is not float32"):
            build(model, "float")


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("first", [True, False])
def test_constants_that_are_repeated_for_each_sample_are_joined_without_their_batch(axis: int, first: bool) -> None:
    """As the class token of a transformer is."""
    net, rows = Net(0, (4, 6)), [3, 6] if axis == 1 else [4, 3]
    zero, one = (net.constant([value], np.int64) for value in (0, 1))
    count = net.op("Slice", net.op("Shape", "input"), zero, one)
    sizes = net.op("Concat", count, net.constant(rows, np.int64), axis=0)
    token = net.op("Expand", net.constant(net.rng.normal(0, 1, (1, *rows))), sizes)
    agrees(net, net.op("Concat", *((token, "input") if first else ("input", token)), axis=axis))


def test_one_number_a_sample_is_a_vector_of_one() -> None:
    net = Net(0, ())
    built, x = build(net.model(net.op("Mul", "input", net.constant(3.0))), "float"), np.float32([1, 2, -3])
    np.testing.assert_array_equal(built.run(x)["logits"].reshape(-1), 3 * x)


def test_an_output_that_follows_from_no_input_is_refused() -> None:
    model = parsed("y = Relu(input) z = Relu(w)", outputs="float[n, 2, 3] y, float[3] z")
    with pytest.raises(BadInputError, match="does not depend on the input|only the batch"):
        build(model, "float")


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Elu", {}), ("Elu", {"alpha": 0.5}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("Sigmoid", {}),
        ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.3}), ("HardSwish", {}), ("Softplus", {}),
        ("Mish", {}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("Softmax", {}), ("Erf", {}), ("Tanh", {}),
        ("Sin", {}), ("Cos", {}), ("Exp", {}), ("Abs", {}), ("Neg", {}), ("Floor", {}), ("Ceil", {}),
    ],
)  # fmt: skip
def test_a_function_has_its_own_constants_or_onnxs(op: str, attributes: dict[str, Any]) -> None:
    """Of a thousand numbers; those of a table and ncnn's approximations agree to 1e-3 of the range."""
    net = Net(0, (10, 100))
    model, x = net.model(net.op(op, "input", **attributes)), 3 * net.inputs(1)
    model.opset_import[0].version = 20
    truth = reference(model, x)["logits"]
    apart = np.abs(build(model, "float").run(x)["logits"] - truth)
    assert apart.max() <= 1e-3 * np.abs(truth).max()


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal"])
def test_a_function_of_positive_numbers(op: str) -> None:
    net = Net(0, (10, 100))
    agrees(net, net.op(op, net.op("Add", net.op("Abs", "input"), net.constant(0.25))))


@pytest.mark.parametrize(("low", "high"), [(None, None), (-0.25, None), (None, 0.5), (-0.25, 0.5)])
def test_a_clip_behind_no_layer(low: float | None, high: float | None) -> None:
    net = Net(0, (10, 10))
    limits = ("" if limit is None else net.constant(limit) for limit in (low, high))
    agrees(net, net.op("Clip", "input", *limits))
