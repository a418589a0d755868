"""Which layers share their channels' ranges, by how much (arXiv:1906.04721, eq. 11), and that nothing else changes."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.onnx_graph import Graph
from edgekd.quantization.equalize import equalize
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import constants, model, random

node = helper.make_node
X = random(5, 3, 6, 6, seed=9)


def pair(*between: onnx.NodeProto, second: np.ndarray | None = None, **options: int) -> onnx.ModelProto:
    """A convolution to four channels, nodes from "a" to "b", and a second one."""
    last = node("Conv", ["b", "w"], ["y"], **options)
    first = node("Conv", ["x", "v", "bias"], ["a"])
    values = {"v": random(4, 3, 1, 1), "bias": random(4, seed=1)}
    return model([first, *between, last], {**values, "w": random(2, 4, 1, 1, seed=2) if second is None else second})


def largest(weight: np.ndarray, axis: int) -> list[float]:
    """The largest magnitude of each channel."""
    return [max(abs(value) for value in channel.ravel().tolist()) for channel in np.moveaxis(weight, axis, 0)]


def evened(net: onnx.ModelProto) -> dict[str, np.ndarray] | None:
    """The constants of an equalised model that computes the same; None if it is the model itself."""
    after = equalize(net)
    expected, found = (Reference(each).run({"x": X})["y"] for each in (net, after))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 weights
    before, now = constants(net), constants(after)
    return None if all(np.array_equal(before[name], now.get(name)) for name in before) else now


@pytest.mark.parametrize("axis", [1, 0], ids=["dense", "depthwise"])
def test_each_channel_has_the_geometric_mean_of_both_ranges(axis: int) -> None:
    second = random(4, 1, 3, 3, seed=2) if axis == 0 else random(2, 4, 1, 1, seed=2)
    net = pair(node("Relu", ["a"], ["b"]), second=second, **({"group": 4} if axis == 0 else {}))
    now, before = evened(net), constants(net)
    assert now is not None
    for c, (one, other) in enumerate(zip(largest(before["v"], 0), largest(before["w"], axis), strict=True)):
        mean = (one * other) ** 0.5
        assert largest(now["v"], 0)[c] == pytest.approx(mean, rel=1e-5)
        assert largest(now["w"], axis)[c] == pytest.approx(mean, rel=1e-5)
    shifts = [value for name, value in now.items() if name.endswith("bias")]
    gains = np.sqrt(np.array(largest(before["v"], 0)) / largest(before["w"], axis))
    np.testing.assert_allclose(shifts[0], before["bias"] / gains, rtol=1e-5)


def test_two_channels_are_evened_before_a_depthwise_layer() -> None:
    values = {"v": random(2, 3, 1, 1), "w": random(2, 1, 3, 3, seed=2)}
    now = evened(model([node("Conv", ["x", "v"], ["a"]), node("Conv", ["a", "w"], ["y"], group=2)], values))
    assert now is not None
    assert largest(now["v"], 0) == pytest.approx(largest(now["w"], 0), rel=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(pair(node("Sigmoid", ["a"], ["b"])), id="a bend"),
        pytest.param(pair(node("Clip", ["a", "zero"], ["b"])), id="a clip"),
        pytest.param(pair(node("Relu", ["a"], ["r"]), node("Relu", ["r"], ["b"])), id="two of them"),
        pytest.param(pair(node("Relu", ["a"], ["b"]), second=random(4, 2, 1, 1), group=2), id="groups of two"),
        pytest.param(pair(node("Relu", ["a"], ["b"]), second=random(8, 1, 1, 1), group=4), id="two maps a channel"),
    ],
)
def test_only_a_relu_may_lie_between_and_only_whole_channels_are_evened(net: onnx.ModelProto) -> None:
    if net.graph.node[1].op_type == "Clip":
        net.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "zero"))
    assert evened(net) is None


def test_layers_that_share_a_tensor_or_end_the_network_stay() -> None:
    read_twice = model(
        [node("Conv", ["x", "v"], ["a"]), node("Conv", ["a", "w"], ["b"]), node("Add", ["a", "b"], ["y"])],
        {"v": random(4, 3, 1, 1), "w": random(4, 4, 1, 1, seed=2)},
    )
    assert evened(read_twice) is None
    assert evened(model([node("Conv", ["x", "v"], ["y"])], {"v": random(4, 3, 1, 1)})) is None
    computed = model(
        [node("Abs", ["w"], ["u"]), node("Conv", ["x", "v"], ["a"]), node("Conv", ["a", "u"], ["y"])],
        {"v": random(4, 3, 1, 1), "w": random(4, 4, 1, 1, seed=2)},
    )
    assert evened(computed) is None
    flat = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "v"], ["a"], transB=1), node("Relu", ["a"], ["r"])]
    linear = model(
        [*flat, node("Gemm", ["r", "w"], ["y"], transB=1)],
        {"v": random(4, 108), "w": random(2, 4, seed=2)},
        output_rank=2,
    )
    assert evened(linear) is not None


def test_a_dead_channel_stays_and_no_gain_is_beyond_a_thousand() -> None:
    net = pair(node("Relu", ["a"], ["b"]))
    before = {name: value.copy() for name, value in constants(net).items()}
    before["v"][0] = 0
    before["w"][:, 1] = 0
    before["v"][2] *= 1e15
    before["v"][3] *= 1e-15
    for tensor in net.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(before[tensor.name], tensor.name))
    now = constants(equalize(net))
    for c, gain in ((0, 1.0), (1, 1.0), (2, 1e6), (3, 1e-6)):  # a thousandfold in each of two rounds
        np.testing.assert_allclose(now["v"][c], before["v"][c] / gain, rtol=1e-5)
        np.testing.assert_allclose(now["w"][:, c], before["w"][:, c] * gain, rtol=1e-5)


def test_a_chain_is_evened_from_its_beginning_twice() -> None:
    """Plain numbers: r1, r2, r3 of three weights become √(r1·r2) … in each of two rounds."""
    nodes = [node("Conv", ["x", "u"], ["a"]), node("Conv", ["a", "v"], ["b"]), node("Conv", ["b", "w"], ["y"])]
    weights = {
        name: np.full((1, 3 if name == "u" else 1, 1, 1), r, np.float32)
        for name, r in zip("uvw", (8, 2, 1), strict=True)
    }
    u, v, w = 8.0, 2.0, 1.0
    for _ in range(2):
        u = v = (u * v) ** 0.5
        v = w = (v * w) ** 0.5
    graph = Graph(equalize(model(nodes, weights)))
    found = [graph.constants[each.input[1]].max() for each in graph.nodes]
    assert found == pytest.approx([u, v, w], rel=1e-6)
