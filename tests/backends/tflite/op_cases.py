"""The table of ops: one function each, that builds a net of random shape and attributes around it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.factories import Net

Case = tuple[Net, str]


def maps(seed: int, channels: Sequence[int] = (1, 3, 4, 8)) -> Net:
    rng = np.random.default_rng(seed)
    return Net(seed, (int(rng.choice(channels)), *map(int, rng.integers(4, 9, 2))))


def sequences(seed: int, channels: Sequence[int] = (1, 3, 4, 8)) -> Net:
    rng = np.random.default_rng(seed)
    return Net(seed, (int(rng.choice(channels)), int(rng.integers(6, 15))))


def anything(seed: int) -> Net:
    return Net(seed, ((5,), (3, 6), (4, 5, 3), (2, 3, 4, 2))[seed % 4])


def choose(net: Net, *values: Any) -> Any:
    return values[int(net.rng.integers(len(values)))]


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def positive(net: Net) -> str:
    return net.op("Add", net.op("Abs", "input"), net.constant(0.5))


def on_anything(kind: str, **attributes: Any) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = anything(seed)
        return net, net.op(kind, "input", **attributes)

    return build


def of_positive(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = anything(seed)
        return net, net.op(kind, positive(net))

    return build


def reduction(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = choose(Net(seed, ()), maps, sequences)(seed)
        axes = sorted(net.rng.permutation(np.arange(1, len(net.shape) + 1))[: int(net.rng.integers(1, 3))].tolist())
        values = around_one(net) if kind == "ReduceProd" else "input"
        return net, net.op(kind, values, integers(net, *axes), keepdims=choose(net, 0, 1))

    return build


def around_one(net: Net) -> str:
    """Values of both signs whose products stay finite."""
    size = net.op("Exp", net.op("Mul", "input", net.constant(0.125)))
    return net.op("Mul", net.op("Sign", "input"), size)


def compared(kind: str) -> Callable[[int], Case]:
    """A mask is turned to numbers, since a model's outputs are float here."""

    def build(seed: int) -> Case:
        net = anything(seed)
        return net, net.op("Cast", net.op(kind, "input", net.constant(net.rng.normal(0, 1, net.shape[-1:]))), to=1)

    return build


def conv1d(seed: int) -> Case:
    net = sequences(seed)
    kernel, group = choose(net, 1, 3, 5), choose(net, 1, net.shape[0])
    weight = net.constant(net.rng.normal(0, 0.4, (8 * group, net.shape[0] // group, kernel)))
    bias, stride = net.constant(net.rng.normal(0, 0.2, 8 * group)), choose(net, 1, 2)
    pads = net.rng.integers(0, 3, 2).tolist()
    return net, net.op("Conv", "input", weight, bias, kernel_shape=[kernel], strides=[stride], pads=pads, group=group)


def pool1d(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = sequences(seed)
        attributes = {"count_include_pad": 1} if kind == "AveragePool" else {}
        y = net.op(kind, "input", kernel_shape=[3], strides=[choose(net, 1, 2)], pads=[1, 1], **attributes)
        return net, y

    return build


def pool_rounded_up(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = maps(seed)
        kernel, pads = choose(net, [2, 2], [3, 3], [3, 2]), choose(net, [0] * 4, [1, 1, 0, 0])
        return net, net.op(kind, "input", kernel_shape=kernel, strides=[2, 2], pads=pads, ceil_mode=1)

    return build


def average_of_what_lies_inside(seed: int) -> Case:
    net = maps(seed)
    pads = choose(net, [1] * 4, [0, 1, 1, 0], [1, 0, 1, 1])
    return net, net.op("AveragePool", "input", kernel_shape=[3, 3], strides=[choose(net, 1, 2)] * 2, pads=pads)


def conv_transpose(seed: int) -> Case:
    net = maps(seed, (2, 4))
    kernel, stride = (int(net.rng.integers(1, 5)) for _ in range(2))
    outputs, end = choose(net, 1, 3), int(net.rng.integers(0, stride))
    weight = net.constant(net.rng.normal(0, 0.4, (net.shape[0], outputs, kernel, kernel)))
    bias = [net.constant(net.rng.normal(0, 0.2, outputs))] if choose(net, True, False) else []
    options = {"strides": [stride] * 2, "pads": net.rng.integers(0, max(kernel // 2, 1) + 1, 4).tolist()}
    y = net.op("ConvTranspose", "input", weight, *bias, output_padding=[end] * 2, **options)
    return net, choose(net, y, net.relu(y))


def grouped_conv_transpose(seed: int) -> Case:
    net = maps(seed, (4,))
    group, dilation = choose(net, 1, 2, 4), choose(net, 1, 2)
    weight = net.constant(net.rng.normal(0, 0.4, (4, 2, 3, 3)))
    attributes = {"strides": [2, 2], "dilations": [dilation] * 2, "group": group, "pads": [1] * 4}
    return net, net.op("ConvTranspose", "input", weight, **attributes)


def conv_transpose_1d(seed: int) -> Case:
    net = sequences(seed, (3,))
    kernel, stride = choose(net, 2, 4, 5), choose(net, 1, 2, 3)
    weight = net.constant(net.rng.normal(0, 0.4, (3, 4, kernel)))
    return net, net.op("ConvTranspose", "input", weight, strides=[stride], pads=[1, 0])


def resize(mode: str, **attributes: Any) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = maps(seed)
        scales = net.constant([1, 1, *[float(choose(net, 2, 3))] * 2])
        return net, net.op("Resize", "input", "", scales, mode=mode, **attributes)

    return build


def padded(mode: str) -> Callable[[int], Case]:
    """Two sides of a map, one of them cropped at times."""

    def build(seed: int) -> Case:
        net = choose(Net(seed, ()), maps, sequences)(seed)
        pads = net.rng.integers(0 if mode == "reflect" else -1, 4, (2, len(net.shape) - 1)).tolist()
        around = [[0, 0, *side] for side in pads]
        return net, net.op("Pad", "input", integers(net, *around[0], *around[1]), mode=mode)

    return build


def convolution_3d(seed: int) -> Case:
    net = Net(seed, (3, *np.random.default_rng(seed).integers(4, 7, 3).tolist()))
    weight = net.constant(net.rng.normal(0, 0.2, (4, 3, 3, 2, 3)))
    options = {"strides": [1, 2, 1], "pads": net.rng.integers(0, 2, 6).tolist()}
    return net, net.op("Relu", net.op("Conv", "input", weight, kernel_shape=[3, 2, 3], **options))


def resize_smaller(seed: int) -> Case:
    """By cubics or lines, as wide as what an element of the result stands for."""
    net = Net(seed, (3, 12, 9))
    scales = net.constant([1, 1, 0.5, 1 / 3])
    options = {"mode": choose(net, "linear", "cubic"), "antialias": 1}
    return net, net.op("Resize", "input", "", scales, **options)


def resize_to_sizes(seed: int) -> Case:
    net = maps(seed)
    batch = net.op("Shape", "input", start=0, end=1)
    sizes = net.op("Concat", batch, integers(net, net.shape[0], *net.rng.integers(3, 12, 2).tolist()), axis=0)
    return net, net.op("Resize", "input", "", "", sizes, mode="linear")


def resize_1d(seed: int) -> Case:
    net = sequences(seed)
    options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return net, net.op("Resize", "input", "", net.constant([1, 1, 2.0]), mode="nearest", **options)


def depth_to_space(seed: int) -> Case:
    net = maps(seed, (4, 8))
    return net, net.op("DepthToSpace", "input", blocksize=2, mode=choose(net, "DCR", "CRD"))


def space_to_depth(seed: int) -> Case:
    net = Net(seed, (3, 4, 6))
    return net, net.op("SpaceToDepth", net.relu(net.conv("input", 3, 2)), blocksize=2)


def slice_(seed: int) -> Case:
    net = anything(seed)
    axis = int(net.rng.integers(1, len(net.shape) + 1))
    start, end, step = choose(net, (0, 2, 1), (1, 2**63 - 1, 1), (-2, 9, 1), (0, 9, 2), (1, 2, 1))
    limits = (integers(net, value) for value in (start, end, axis, step))
    return net, net.op("Slice", "input", *limits)


def backwards(seed: int) -> Case:
    net = anything(seed)
    limits = (integers(net, value) for value in (-1, -(2**63), len(net.shape), -1))
    return net, net.op("Slice", "input", *limits)


def split(seed: int) -> Case:
    net = maps(seed, (4, 8))
    first = choose(net, 1, net.shape[0] // 2, 3)
    y = net.op("Split", "input", integers(net, first, net.shape[0] - first), axis=1)
    net.nodes[-1].output.append("rest")
    return net, net.op("Concat", net.op("Abs", "rest"), net.op("Abs", y), axis=1)


def gather(seed: int) -> Case:
    net = anything(seed)
    axis = int(net.rng.integers(1, len(net.shape) + 1))
    indices = choose(net, 1, -1, [1, 0], [[0, -1], [1, 1]])
    return net, net.op("Gather", "input", net.constant(indices, np.int64), axis=axis)


def embedding(seed: int) -> Case:
    """Ids are the input's signs, as integers: 0, 1 or 2."""
    net = Net(seed, (5,))
    ids = net.op("Cast", net.op("Add", net.op("Sign", "input"), net.constant(1.0)), to=7)
    return net, net.op("Gather", net.constant(net.rng.normal(0, 1, (3, 4))), ids)


def tile(seed: int) -> Case:
    net = anything(seed)
    counts = [1, *net.rng.integers(1, 3, len(net.shape)).tolist()]
    return net, net.op("Tile", "input", integers(net, *counts))


def expand(seed: int) -> Case:
    net = Net(seed, (3, 1, 4))
    wide = net.op("Expand", "input", integers(net, 1, 3, choose(net, 2, 5), 4))
    return net, net.op("Transpose", wide, perm=[0, 2, 1, 3])


def token_per_sample(seed: int) -> Case:
    """As a class token is put before the patches: a constant, as often as there are samples."""
    net = Net(seed, (3, 4))
    shape = net.op("Concat", net.op("Shape", "input", start=0, end=1), integers(net, 1, 4), axis=0)
    token = net.op("Expand", net.constant(net.rng.normal(0, 1, (1, 1, 4))), shape)
    return net, net.op("Concat", token, "input", axis=1)


def masked(seed: int) -> Case:
    net = anything(seed)
    mask = net.op("Not", net.op("Greater", "input", net.constant(0.0)))
    return net, net.op("Where", mask, net.constant(-2.0), "input")


def power(seed: int) -> Case:
    net = anything(seed)
    return net, net.op("Pow", positive(net), net.constant(choose(net, 2.0, 0.5, -0.5, 3.0, 1.7)))


def extremes(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = maps(seed)
        bounds = [net.constant(net.rng.normal(0, 1, (net.shape[0], 1, 1))) for _ in range(choose(net, 1, 2))]
        return net, net.op(kind, net.conv("input", net.shape[0], net.shape[0]), *bounds)

    return build


def clip_by_what_is_computed(seed: int) -> Case:
    """Below, above or both; ONNX wants scalars, which are the same for any batch here."""
    net = maps(seed)
    zero = net.op("ReduceMax", net.op("Mul", "input", net.constant(0.0)), keepdims=0)
    low, high = (net.op("Add", zero, net.constant(bound)) for bound in (-0.25, 0.5))
    bounds = choose(net, [low], [low, high], ["", high], [low, net.constant(1.0)])
    return net, net.op("Clip", "input", *bounds)


def layer_norm(seed: int) -> Case:
    net = choose(Net(seed, ()), maps, sequences)(seed)
    axis = choose(net, -1, len(net.shape))
    size = net.shape[-1:]
    parameters = [net.constant(net.rng.normal(1, 0.3, size)) for _ in range(choose(net, 1, 2))]
    return net, net.op("LayerNormalization", "input", *parameters, axis=axis, epsilon=1e-5)


def instance_norm(seed: int) -> Case:
    net = choose(Net(seed, ()), maps, sequences)(seed)
    parameters = [net.constant(net.rng.normal(1, 0.3, net.shape[0])) for _ in range(2)]
    return net, net.op("InstanceNormalization", net.op("Mul", "input", net.constant(2.0)), *parameters)


def soft(kind: str) -> Callable[[int], Case]:
    def build(seed: int) -> Case:
        net = anything(seed)
        return net, net.op(kind, "input", axis=int(net.rng.integers(1, len(net.shape) + 1)))

    return build


def prelu(seed: int) -> Case:
    net = maps(seed, (3, 4))
    return net, net.op("PRelu", "input", net.constant(net.rng.uniform(0, 0.5, choose(net, (net.shape[0], 1, 1), (1,)))))


def linear_over_sequences(seed: int) -> Case:
    """A product and a sum: exporters have no Gemm of rank 3."""
    net = Net(seed, (4, 6))
    y = net.op("MatMul", "input", net.constant(net.rng.normal(0, 1, (6, 3))))
    return net, net.op("Add", y, net.constant(net.rng.normal(0, 1, 3)))


def product_with_a_constant_before(seed: int) -> Case:
    net = Net(seed, (4, 6))
    return net, net.op("MatMul", net.constant(net.rng.normal(0, 1, (1, 3, 4))), "input")


def einsum(seed: int) -> Case:
    """Attention between the rows of a sequence, then weights for each head."""
    net = Net(seed, (2, 5, 4))
    scores = net.op("Einsum", "input", "input", equation="bhqd,bhkd->bhqk")
    mixed = net.op("Einsum", net.op("Softmax", scores, axis=-1), "input", equation="bhqk,bhkd->bqhd")
    weight = net.constant(net.rng.normal(0, 1, (2, 4, 3)))
    return net, net.op("Einsum", mixed, weight, equation="bqhd,hde->bqe")


def gelu_of_erf(seed: int) -> Case:
    net = anything(seed)
    kind, factor = choose(net, ("Div", 2**0.5), ("Mul", 0.5**0.5))
    erf = net.op("Erf", net.op(kind, "input", net.constant(factor)))
    one = net.op("Add", erf, net.constant(1.0))
    whole = choose(net, 0, 1, 2)
    if whole == 0:
        return net, net.op("Mul", net.op("Mul", "input", one), net.constant(0.5))
    if whole == 1:
        return net, net.op("Mul", net.op("Mul", "input", net.constant(0.5)), one)
    return net, net.op("Mul", "input", net.op("Mul", one, net.constant(0.5)))


def recurrent(kind: str) -> Callable[[int], Case]:
    """Any direction; with and without bias and first state; the sequence and the last states are read."""
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]

    def build(seed: int) -> Case:
        net = Net(seed, (5, 6))
        direction = choose(net, "forward", "reverse", "bidirectional")
        ways = 2 if direction == "bidirectional" else 1
        weights = [net.constant(net.rng.normal(0, 0.5, (ways, gates * 4, size))) for size in (8, 4)]
        width = net.op("Shape", "input", start=2)  # as torch cuts its weights: by sizes that it looks up
        weights[0] = net.op("Slice", weights[0], integers(net, 0), width, integers(net, 2))
        bias = choose(net, "", net.constant(net.rng.normal(0, 0.3, (ways, 8 * gates))))
        rows = net.op("ReduceMean", "input", net.constant([1], np.int64), keepdims=0)
        first = net.op("MatMul", rows, net.constant(net.rng.normal(0, 0.3, (6, 4))))
        first = net.op("Concat", *[net.op("Unsqueeze", first, net.constant([0], np.int64))] * ways, axis=0)
        states = choose(net, [], [first] * (2 if kind == "LSTM" else 1))
        options = {"linear_before_reset": choose(net, 0, 1)} if kind == "GRU" else {}
        steps = net.op("Transpose", "input", perm=[1, 0, 2])
        operands = [steps, *weights, bias, "", *states]
        all_steps = net.op(kind, *operands, hidden_size=4, direction=direction, **options)
        last = f"{all_steps}_last"
        net.nodes[-1].output.append(last)
        along = net.op("ReduceSum", all_steps, net.constant([0, 1], np.int64), keepdims=0)
        final = net.op("ReduceSum", last, net.constant([0], np.int64), keepdims=0)
        return net, net.op("Add", along, final)

    return build


FLOAT: dict[str, Callable[[int], Case]] = {
    **{kind: on_anything(kind) for kind in ("Abs", "Ceil", "Cos", "Exp", "Floor", "Neg", "Round", "Sign", "Sin")},
    **{kind: on_anything(kind) for kind in ("Celu", "Elu", "Erf", "Mish", "Selu", "Softplus")},
    "Celu, wide": on_anything("Celu", alpha=2.5),
    "Clip by what is computed": clip_by_what_is_computed,
    "Conv, 3-D": convolution_3d,
    "Elu, low": on_anything("Elu", alpha=0.5),
    "Resize by cubics": resize("cubic"),
    "Resize by cubics, inside": resize("cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    "Resize linearly, asymmetric halves": resize("linear", coordinate_transformation_mode="asymmetric"),
    "Resize smaller": resize_smaller,
    **{kind: of_positive(kind) for kind in ("Log", "Reciprocal", "Sqrt")},
    **{kind: recurrent(kind) for kind in ("GRU", "LSTM", "RNN")},
    **{kind: reduction(kind) for kind in ("ReduceL1", "ReduceL2", "ReduceProd", "ReduceSum", "ReduceSumSquare")},
    **{kind: compared(kind) for kind in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{kind: extremes(kind) for kind in ("Max", "Min")},
    "AveragePool of what lies inside": average_of_what_lies_inside,
    "AveragePool rounded up": pool_rounded_up("AveragePool"),
    "ConvTranspose in groups": grouped_conv_transpose,
    "Einsum": einsum,
    "Erf as Gelu": gelu_of_erf,
    "Expand": expand,
    "Expand to the batch": token_per_sample,
    "Gather of a table": embedding,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "MatMul after a constant": product_with_a_constant_before,
    "Pow": power,
    "Resize to sizes": resize_to_sizes,
    "Slice backwards": backwards,
    "Split": split,
    "Where": masked,
}
# What only the order of sums may change, in float32. A deviation of few values is as little as the root of LayerNorm's
# epsilon, 0.003, of values up to 4: of those a rounding (6e-8) is divided by it.
FLOAT_TOLERANCE = defaultdict(lambda: 1e-5, LayerNormalization=1e-4)
INT8: dict[str, Callable[[int], Case]] = {
    **{kind: on_anything(kind) for kind in ("Gelu", "HardSwish", "LeakyRelu")},
    **{kind: reduction(kind) for kind in ("ReduceMax", "ReduceMean", "ReduceMin")},
    **{kind: soft(kind) for kind in ("LogSoftmax", "Softmax")},
    "AveragePool, 1-D": pool1d("AveragePool"),
    "Conv, 1-D": conv1d,
    "ConvTranspose": conv_transpose,
    "ConvTranspose, 1-D": conv_transpose_1d,
    "DepthToSpace": depth_to_space,
    "Gather": gather,
    "Gelu by tanh": on_anything("Gelu", approximate="tanh"),
    "MatMul and Add": linear_over_sequences,
    "MaxPool rounded up": pool_rounded_up("MaxPool"),
    "MaxPool, 1-D": pool1d("MaxPool"),
    "PRelu": prelu,
    "Resize by nearest": resize("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "Resize by nearest, centred": resize("nearest", nearest_mode="round_prefer_ceil"),
    "Resize linearly": resize("linear"),
    "Resize linearly, corners aligned": resize("linear", coordinate_transformation_mode="align_corners"),
    "Pad by edges": padded("edge"),
    "Pad or crop": padded("constant"),
    "Pad by reflection": padded("reflect"),
    "Resize by nearest, exact": resize("nearest", nearest_mode="ceil"),
    "Resize, 1-D": resize_1d,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Tile": tile,
}
