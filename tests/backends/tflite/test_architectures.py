"""Small nets of the kinds that people deploy: float and int8 through LiteRT against ONNX Runtime."""

from collections.abc import Callable

import numpy as np
import pytest

from tests import factories
from tests.backends.tflite.harness import Kernels, build, float_distance
from tests.factories import Net

KERNELS: tuple[Kernels, ...] = ("xnnpack", "reference")


def gated(net: Net) -> tuple[str, ...]:
    """MobileNetV3's block: hard swish, and squeeze and excitation."""
    x = net.op("HardSwish", net.conv("input", 3, 8, strides=[2, 2]))
    gate = net.relu(net.conv(net.op("GlobalAveragePool", x), 8, 4, kernel=1))
    gate = net.op("HardSigmoid", net.conv(gate, 4, 8, kernel=1), alpha=1 / 6, beta=0.5)
    return (net.conv(net.op("Mul", x, gate), 8, 4, kernel=1),)


def u_net(net: Net) -> tuple[str, ...]:
    wide = net.relu(net.conv("input", 3, 8))
    low = net.relu(net.conv(net.op("MaxPool", wide, kernel_shape=[2, 2], strides=[2, 2]), 8, 8))
    weight = net.constant(net.rng.normal(0, 0.3, (8, 8, 2, 2)))
    up = net.op("ConvTranspose", low, weight, net.constant(net.rng.normal(0, 0.2, 8)), strides=[2, 2])
    return (net.conv(net.op("Concat", wide, up, axis=1), 16, 4),)


def detector(net: Net) -> tuple[str, ...]:
    """Two resolutions, two outputs; what torch calls permute and reshape costs no transpose."""
    first = net.relu6(net.conv("input", 3, 8, strides=[2, 2]))
    second = net.relu6(net.conv(first, 8, 8, strides=[2, 2]))
    outputs = []
    for width in (3, 4):
        heads = [net.op("Transpose", net.conv(x, 8, 2 * width), perm=[0, 2, 3, 1]) for x in (first, second)]
        rows = [net.op("Reshape", head, net.constant([0, -1, width], np.int64)) for head in heads]
        outputs.append(net.op("Concat", *rows, axis=1))
    return net.op("Softmax", outputs[0], axis=-1), outputs[1]


def sequence(net: Net) -> tuple[str, ...]:
    x = "input"
    for inputs, outputs in ((3, 8), (8, 8)):
        weight = net.constant(net.rng.normal(0, 0.4, (outputs, inputs, 5)))
        x = net.relu(net.op("Conv", x, weight, net.constant(np.zeros(outputs)), strides=[2], pads=[2, 2]))
    return (net.gemm(net.op("Flatten", net.op("GlobalAveragePool", x), axis=1), 8, 4),)


def attention(net: Net) -> tuple[str, ...]:
    """An encoder's layer after a patch embedding, whose flattening costs no transpose."""
    patches = net.op("Reshape", net.conv("input", 3, 8, kernel=4, strides=[4, 4], pads=[0] * 4), whole(net, 8, 16))
    x = net.op("Transpose", patches, perm=[0, 2, 1])
    heads = [net.op("Reshape", _linear(net, x, 8, 8), whole(net, 16, 2, 4)) for _ in range(3)]
    query, key, value = (
        net.op("Transpose", head, perm=perm)
        for head, perm in zip(heads, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    mixed = net.op("MatMul", net.op("Softmax", net.op("MatMul", query, key), axis=-1), value)
    joined = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), whole(net, 16, 8))
    y = net.op("LayerNormalization", net.op("Add", x, joined), net.constant(np.ones(8)), axis=-1)
    hidden = net.op("Gelu", _linear(net, y, 8, 16))
    return (net.op("Add", y, _linear(net, hidden, 16, 8)),)


def whole(net: Net, *sizes: int) -> str:
    return net.constant([-1, *sizes], np.int64)


def _linear(net: Net, x: str, inputs: int, outputs: int) -> str:
    y = net.op("MatMul", x, net.constant(net.rng.normal(0, inputs**-0.5, (inputs, outputs))))
    return net.op("Add", y, net.constant(net.rng.normal(0, 0.2, outputs)))


NETS: dict[str, tuple[tuple[int, ...], Callable[[Net], tuple[str, ...]], int]] = {
    "gated": ((3, 16, 16), gated, 0),
    "u-net": ((3, 16, 16), u_net, 0),
    "detector": ((3, 16, 16), detector, 0),
    "sequence": ((3, 32), sequence, 1),
    "attention": ((3, 16, 16), attention, 3),
}


def made(name: str) -> tuple[Net, tuple[str, ...]]:
    shape, build_net, _ = NETS[name]
    net = Net(1, shape)
    return net, build_net(net)


@pytest.mark.parametrize("name", sorted(NETS))
def test_float_net_is_exact_and_one_delegate(name: str) -> None:
    """1e-5: only the order of sums differs."""
    net, outputs = made(name)
    model = net.model(*outputs, names=tuple(f"out{i}" for i in range(len(outputs))))
    built = build(model, "float")
    interpreter = built.interpreter()
    interpreter.allocate_tensors()
    assert [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE") == 1
    assert built.ops.count("TRANSPOSE") == {"sequence": 1, "attention": 4}.get(name, 0)
    assert float_distance(model, net.inputs(5, seed=3)) <= 1e-5


@pytest.mark.parametrize("name", sorted(NETS))
def test_int8_net(name: str) -> None:
    """30 dB, the gate of the design: a softmax makes several steps of one in its input, and so does a layer norm.

    What normalises, and the sum that leads to it, is all that stays in float.
    """
    net, outputs = made(name)
    model = net.model(*outputs, names=tuple(f"out{i}" for i in range(len(outputs))))
    quantised = factories.quantize(model, net.inputs(64))
    x = net.inputs(5, seed=3)
    built, expected = build(quantised), factories.reference(quantised, x)
    assert all("LayerNormalization" in note or "(MatMul)" in note or "(Add)" in note for note in built.compiled.notes)
    assert bool(built.compiled.notes) == (name == "attention")
    for kernels in KERNELS:
        found = built.run(x, kernels)
        for output, value in expected.items():
            assert 10 * np.log10(np.square(value).mean() / max(np.square(found[output] - value).mean(), 1e-12)) >= 30
