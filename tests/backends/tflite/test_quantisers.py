"""Quantisers written by hand: their axes, types, twins and biases, in the file and in numbers."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.quantization.reference import Reference
from tests.backends.tflite.harness import Model, build
from tests.quantization.onnx_models import model, random

node = helper.make_node
X = random(5, 3, seed=4)
W, B = np.random.default_rng(0).integers(-127, 128, (3, 4)).astype(np.int8), random(4, seed=2)


def quantised(source: str, made: str, scale: str = "s", zero: str = "z") -> list[onnx.NodeProto]:
    """A tensor rounded: Q and DQ."""
    return [node("QuantizeLinear", [source, scale, zero], [f"{made}_q"]),
        node("DequantizeLinear", [f"{made}_q", scale, zero], [made])]  # fmt: skip


def numbers(**more: Any) -> dict[str, np.ndarray[Any, Any]]:
    values = {"s": np.float32(0.03), "z": np.int8(3), "ys": np.float32(0.25), "yz": np.int8(-5), "w": W}
    return {name: np.asarray(value) for name, value in (values | more).items()}


def product(dequantize: onnx.NodeProto, *after: onnx.NodeProto, made: str = "m", **more: Any) -> onnx.ModelProto:
    """x times dequantised weights, rounded at both ends."""
    between = [dequantize, node("MatMul", ["xd", "wd"], ["m"]), *after]
    nodes = [*quantised("x", "xd"), *between, *quantised(made, "y", "ys", "yz")]
    return model(nodes, numbers(**more), ("N", 3), output_rank=2, opset=21)


def agree(net: onnx.ModelProto, x: np.ndarray[Any, Any] = X) -> Model:
    """Within a step: the kernel's scaling by integers may round a tie the other way."""
    built, expected = build(net), Reference(net).run({"x": x})
    found = built.run(x, "reference")
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1.01 * (built.steps[name] or 1e-5)
    return built


def operands(built: Model, kind: str) -> list[Any]:
    return [built.graph.tensors[index] for index in built.graph.operators[built.ops.index(kind)].inputs]


@pytest.mark.parametrize(
    ("axis", "count", "ops"),
    [
        ({}, 4, "QUANTIZE FULLY_CONNECTED DEQUANTIZE"),  # 1, as ONNX has it
        ({"axis": 1}, 4, "QUANTIZE FULLY_CONNECTED DEQUANTIZE"),
        ({"axis": -1}, 4, "QUANTIZE FULLY_CONNECTED DEQUANTIZE"),
        ({"axis": 0}, 3, "QUANTIZE DEQUANTIZE FULLY_CONNECTED QUANTIZE DEQUANTIZE"),
        ({"axis": -2}, 3, "QUANTIZE DEQUANTIZE FULLY_CONNECTED QUANTIZE DEQUANTIZE"),
        ({}, None, "QUANTIZE FULLY_CONNECTED DEQUANTIZE"),
        ({}, 1, "QUANTIZE FULLY_CONNECTED DEQUANTIZE"),
    ],
)
def test_scales_run_along_their_axis(axis: dict[str, int], count: int | None, ops: str) -> None:
    scales = np.linspace(0.01, 0.02, count or 1, dtype=np.float32) if count else np.float32(0.015)
    zeros = np.zeros(np.shape(scales), np.int8)
    built = agree(product(node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], **axis), ws=scales, wz=zeros))
    assert " ".join(built.ops) == ops
    borders = operands(built, "QUANTIZE" if axis.get("axis") in (0, -2) else "FULLY_CONNECTED")[:1]
    assert {each.quantization.quantizedDimension for each in borders if each.quantization} <= {0}


def test_constants_of_either_sign_are_stored_alike() -> None:
    unsigned = W.astype(np.int64) + 128
    nodes = node("DequantizeLinear", ["w", "ws", "wz"], ["wd"])
    signed = product(nodes, ws=np.float32(0.02), wz=np.int8(0))
    shifted = product(nodes, w=unsigned.astype(np.uint8), ws=np.float32(0.02), wz=np.uint8(128))
    np.testing.assert_array_equal(agree(shifted).run(X)["y"], agree(signed).run(X)["y"])


def test_the_steps_of_a_vector_run_along_its_only_axis() -> None:
    """As those of a bias, whose axis some exporters count from the end."""
    nodes = [*quantised("x", "xd"), node("DequantizeLinear", ["v", "vs", "vz"], ["vd"], axis=-1),
        node("Exp", ["xd"], ["e"]), node("Mul", ["e", "vd"], ["m"]), *quantised("m", "y", "ys", "yz")]  # fmt: skip
    values, zeros = np.array([1, 2, 3], np.int8), np.array([0, 1, -1], np.int8)
    steps = {"v": values, "vs": np.array([1, 0.5, 0.25], np.float32), "vz": zeros}
    agree(model(nodes, numbers(**steps), ("N", 3), output_rank=2))


@pytest.mark.parametrize(
    ("operands", "options", "more"),
    [
        (["w", "ws"], {}, {"ws": np.float32(0.02)}),
        (["w", "ws", "wz"], {"axis": 0, "block_size": 3},
            {"ws": np.full((1, 4), 0.02, np.float32), "wz": np.zeros((1, 4), np.int8)}),
    ],
)  # fmt: skip
def test_a_quantiser_without_a_zero_point_or_in_blocks_is_refused(
    operands: list[str], options: dict[str, int], more: dict[str, Any]
) -> None:
    net = product(node("DequantizeLinear", operands, ["wd"], **options), **more)
    with pytest.raises(BadInputError, match="it needs a constant scale and zero point, per tensor or per channel"):
        build(net)


@pytest.mark.parametrize(("other", "quantisers"), [("s", 1), ("s2", 2)])
def test_quantisers_of_one_tensor_are_one_where_they_are_alike(other: str, quantisers: int) -> None:
    nodes = [*quantised("x", "a"), *quantised("x", "b", other), node("Abs", ["a"], ["c"]), node("Abs", ["b"], ["d"]),
        node("Concat", ["c", "d"], ["e"], axis=1), *quantised("e", "y", "ys", "yz")]  # fmt: skip
    built = agree(model(nodes, numbers(s2=np.float32(0.01)), ("N", 3), output_rank=2))
    assert built.ops[:-2].count("QUANTIZE") == quantisers


@pytest.mark.parametrize("scales", [np.float32(0.02), np.linspace(0.01, 0.02, 4, dtype=np.float32)])
def test_a_bias_behind_a_product_is_counted_in_steps_of_it(scales: Any) -> None:
    dequantize = node("DequantizeLinear", ["w", "ws", "wz"], ["wd"])
    after = node("Add", ["m", "b"], ["biased"])
    zeros = np.zeros(np.shape(scales), np.int8)
    built = agree(product(dequantize, after, made="biased", ws=scales, wz=zeros, b=B))
    assert built.ops == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    x, weight, bias = operands(built, "FULLY_CONNECTED")
    steps = np.float32(x.quantization.scale[0]) * np.broadcast_to(weight.quantization.scale, 4).astype(np.float32)
    np.testing.assert_allclose(bias.quantization.scale, steps, rtol=1e-6)
    assert not np.any(bias.quantization.zeroPoint)


def test_a_product_of_floats_keeps_a_float_bias() -> None:
    """Nothing to round it by: its operand is read before any quantiser."""
    nodes = [node("Exp", ["x"], ["e"]), node("MatMul", ["e", "f"], ["m"]), node("Add", ["m", "b"], ["biased"]),
        *quantised("biased", "y", "ys", "yz")]  # fmt: skip
    agree(model(nodes, numbers(f=random(3, 4, seed=7), b=B), ("N", 3), output_rank=2))


@pytest.mark.parametrize(("other", "ops"), [("s", "QUANTIZE DEQUANTIZE"), ("s2", "QUANTIZE QUANTIZE DEQUANTIZE")])
def test_what_is_rounded_twice_is_moved_to_the_other_steps(other: str, ops: str) -> None:
    nodes = [*quantised("x", "a"), *quantised("a", "y", other)]
    built = agree(model(nodes, numbers(s2=np.float32(0.01)), ("N", 3), output_rank=2))
    assert " ".join(built.ops) == ops
