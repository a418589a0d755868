"""What integer operators compute is exact on every CPU, whatever sign their factors have."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekd.quantization.reference import Reference

KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8, np.float32: TensorProto.FLOAT}
SIGNS = (np.uint8, np.int8)
KIND_OF = (("a", np.uint8), ("b", np.int8))


def factors(operator, *kinds):
    """Values whose products, summed in pairs, do not fit int16."""
    shapes = ((3, 64), (64, 24)) if "MatMul" in operator else ((2, 16, 5, 5), (8, 16, 3, 3))
    random, ends = np.random.default_rng(0), [np.iinfo(kind) for kind in kinds]
    most = [[end.max, end.max - 1, end.min, end.max] for end in ends]
    return [random.choice(most[i], shapes[i]).astype(ends[i].dtype) for i in range(len(kinds))]


def zero(kind):
    return kind(128 if kind is np.uint8 else 0)


def exact(operator, a, b):
    a, b = a.astype(np.float64) - zero(a.dtype.type), b.astype(np.float64) - zero(b.dtype.type)
    return a @ b if "MatMul" in operator else torch.conv2d(torch.from_numpy(a), torch.from_numpy(b)).numpy()


def answer(nodes, given, constants, kind):
    """What the reference says that a graph of integer nodes makes of its inputs, by name."""
    outputs = [node.output[0] for node in nodes]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, KINDS[v.dtype.type], v.shape) for name, v in given.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return Reference(helper.make_model(graph, opset_imports=domains, ir_version=9)).run(given)


@pytest.mark.parametrize("operator", ["MatMulInteger", "ConvInteger"])
@pytest.mark.parametrize("first", SIGNS)
@pytest.mark.parametrize("second", SIGNS)
@pytest.mark.parametrize("constant", [True, False])
def test_sums_of_products_are_exact(operator, first, second, constant):
    a, b = factors(operator, first, second)
    points = {"za": zero(first), "zb": zero(second)}
    node = helper.make_node(operator, ["a", "b", "za", "zb"], ["y"])
    given, kept = ({"a": a}, {"b": b}) if constant else ({"a": a, "b": b}, {})
    np.testing.assert_array_equal(answer([node], given, points | kept, TensorProto.INT32)["y"], exact(operator, a, b))


@pytest.mark.parametrize("outside", [False, True])
def test_sums_within_a_branch_are_exact(outside):
    """Also where a branch takes its weights from the graph around it, which computes with them, too."""
    a, b = factors("MatMulInteger", np.uint8, np.int8)
    node = helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], ["inner"])
    weights = [numpy_helper.from_array(b, "b"), *(numpy_helper.from_array(zero(k), f"z{n}") for n, k in KIND_OF)]
    value = helper.make_tensor_value_info("inner", TensorProto.INT32, None)
    bodies = [helper.make_graph([node], name, [], [value], [] if outside else weights) for name in ("then", "else")]
    nodes = [helper.make_node("If", ["true"], ["y"], then_branch=bodies[0], else_branch=bodies[1])]
    if outside:
        nodes.append(helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], ["same"]))
    kept = {"b": b, **{f"z{name}": zero(kind) for name, kind in KIND_OF}} if outside else {}
    found = answer(nodes, {"a": a}, {"true": np.array(True), **kept}, TensorProto.INT32)
    for value in found.values():
        np.testing.assert_array_equal(value, exact("MatMulInteger", a, b))


@pytest.mark.parametrize("operator", ["QLinearMatMul", "QLinearConv"])
@pytest.mark.parametrize(("first", "second"), [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)])
def test_sums_that_are_rounded_again_are_exact_before(operator, first, second):
    a, b = factors(operator, first, second)
    sums, ends = exact(operator, a, b), np.iinfo(first)
    step = np.float32(np.abs(sums).max() / 100)
    constants = {"b": b, "za": zero(first), "zb": zero(second), "s": np.float32(1), "step": step}
    node = helper.make_node(operator, ["a", "s", "za", "b", "s", "zb", "step", "za"], ["y"])
    found = answer([node], {"a": a}, constants, KINDS[first])["y"]
    off = np.abs(found - np.clip(np.rint(sums / step) + zero(first), ends.min, ends.max))
    assert off.max() <= 1  # what lies between two steps may go either way: the scale is a float32
    assert (off > 0).mean() < 0.01


def test_two_may_share_their_weights():
    a, b = factors("MatMulInteger", np.uint8, np.int8)
    nodes = [helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], [name]) for name in ("y", "z")]
    found = answer(nodes, {"a": a}, {"b": b, "za": zero(np.uint8), "zb": zero(np.int8)}, TensorProto.INT32)
    for name in ("y", "z"):
        np.testing.assert_array_equal(found[name], exact("MatMulInteger", a, b))


def test_a_zero_point_that_is_left_out_is_zero():
    a, b = factors("MatMulInteger", np.uint8, np.int8)
    found = answer([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], {"a": a}, {"b": b}, TensorProto.INT32)
    np.testing.assert_array_equal(found["y"], a.astype(np.int64) @ b.astype(np.int64))


def test_weights_of_a_layer_that_quantises_as_it_runs_keep_their_values():
    """Beside the same weights in uint8, which no CPU saturates."""
    x, b = np.random.default_rng(0).uniform(0, 1, (3, 64)).astype(np.float32), factors("MatMul", np.uint8, np.int8)[1]
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "b", "s", "z"], ["y"], domain="com.microsoft")
    signed = {"b": b, "s": np.float32(0.5), "z": np.int8(0)}
    unsigned = signed | {"b": (b.astype(np.int16) + 128).astype(np.uint8), "z": np.uint8(128)}
    one, other = (answer([node], {"x": x}, constants, TensorProto.FLOAT)["y"] for constants in (signed, unsigned))
    np.testing.assert_array_equal(one, other)
