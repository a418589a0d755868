"""Operators that ONNX defines by others: LiteRT computes what ONNX Runtime's own kernels do."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.backends.tflite.reader import read
from tests.backends.tflite.harness import float_distance
from tests.factories import Net


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def scales(net: Net, size: int) -> str:
    return net.constant(net.rng.normal(1, 0.3, size))


def rotary(net: Net) -> str:
    """Of (N, heads, steps, size), each sample at the same steps."""
    angles = [net.constant(net.rng.uniform(-1, 1, (5, 2))) for _ in range(2)]
    zero = net.op(
        "Cast", net.op("Mul", net.op("ReduceMax", "input", integers(net, 1, 3), keepdims=0), net.constant(0.0)), to=7
    )
    return net.op("RotaryEmbedding", "input", *angles, net.op("Add", zero, integers(net, 0, 1, 2, 3, 4)))


def model_of(net: Net, result: str, version: int) -> onnx.ModelProto:
    """A model of a version of the standard operators, whose result has the rank of the input."""
    ranks = [None] * (len(net.shape) + 1)
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *net.shape])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, ranks)],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10)


@pytest.mark.parametrize(
    ("shape", "net_of", "version"),
    [
        ((2, 5, 4), lambda net: net.op("Attention", "input", "input", "input"), 23),
        ((2, 5, 4), lambda net: net.op("Attention", "input", "input", "input", is_causal=1, scale=0.5), 23),
        ((2, 5, 4), lambda net: net.op("CenterCropPad", "input", integers(net, 3, 6), axes=[2, 3]), 21),
        (
            (4, 3, 5),
            lambda net: net.op("GroupNormalization", "input", scales(net, 4), scales(net, 4), num_groups=2),
            21,
        ),
        ((4, 3, 5), lambda net: net.op("MeanVarianceNormalization", "input", axes=[2, 3]), 21),
        ((4, 6), lambda net: net.op("RMSNormalization", "input", scales(net, 6)), 23),
        ((4, 6), lambda net: net.op("ReduceLogSumExp", "input", integers(net, 2)), 21),
        ((4, 6), lambda net: net.op("ReduceLogSum", net.op("Exp", "input"), integers(net, 1)), 21),
        ((2, 5, 4), rotary, 23),
        ((4, 6), lambda net: net.op("Shrink", "input", bias=0.25), 21),
        ((4, 6), lambda net: net.op("Softsign", "input"), 22),
        ((4, 6), lambda net: net.op("Swish", "input", alpha=0.5), 24),
        ((4, 6), lambda net: net.op("ThresholdedRelu", "input", alpha=0.5), 22),
    ],
)
def test_what_onnx_defines_runs(shape: tuple[int, ...], net_of: Callable[[Net], str], version: int) -> None:
    net = Net(0, shape)
    model = model_of(net, net_of(net), version)
    # float32: sums in another order, of values up to a few tens; a variance may be a difference of two squares
    assert float_distance(model, net.inputs(5, seed=1)) <= 1e-4


def test_what_it_is_written_as_is_named_after_it() -> None:
    net = Net(0, (4, 6))
    model = model_of(net, net.op("Softsign", "input"), 22)
    nodes = read(model, 1).nodes
    assert [node.op for node in nodes] == ["Abs", "Add", "Div"]
    assert all(node.name.startswith("softsign_0/") for node in nodes)
