"""Which TFLite ops a small net becomes, transposes counted, and that they compute what ONNX Runtime does."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.backends.tflite.harness import Model, build, float_distance
from tests.factories import Net

Build = Callable[[Net], str]
MAP, SEQUENCE = (3, 4, 5), (3, 8)


def becomes(shape: tuple[int, ...], net_of: Build, ops: str) -> None:
    net = Net(0, shape)
    model = net.model(net_of(net))
    built = build(model, "float")
    assert " ".join(built.ops) == ops
    check_shapes(built)
    # float32: sums in another order, of values up to a few tens.
    assert float_distance(model, net.inputs(5, seed=1)) <= 1e-5


def check_shapes(built: Model) -> None:
    """What the file declares is what TFLite works out: at its batch, and what is open at another one."""
    interpreter = built.interpreter("reference")
    made = {operator.outputs[0] for operator in built.graph.operators}
    assert len(made) == len(built.graph.operators), "each tensor is made once"
    first, *_ = interpreter.get_input_details()
    for batch in (1, 3):
        interpreter.resize_tensor_input(first["index"], [batch, *first["shape"][1:]])
        interpreter.allocate_tensors()
        found = {each["index"]: tuple(each["shape"]) for each in interpreter.get_tensor_details()}
        for index in made:
            tensor = built.graph.tensors[index]
            declared = tuple(tensor.shape)
            signature = declared if tensor.shapeSignature is None else tuple(tensor.shapeSignature)
            if batch == 1:
                assert found[index] == declared, tensor.name
            assert all(size in (-1, real) for size, real in zip(signature, found[index], strict=True)), tensor.name


def integers(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def weights(net: Net, *shape: int) -> str:
    return net.constant(net.rng.normal(0, 0.4, shape))


def conv(net: Net, x: str = "input", inputs: int = 3, outputs: int = 3) -> str:
    return net.conv(x, inputs, outputs)


def on_conv(kind: str, *operands: Callable[[Net], str], first: bool = True, **attributes: object) -> Build:
    """One operation behind a convolution."""

    def net_of(net: Net) -> str:
        made = conv(net)
        others = [operand(net) for operand in operands]
        return net.op(kind, *([made, *others] if first else [*others, made]), **attributes)

    return net_of


def moved(net: Net, *perms: Sequence[int], through: Callable[[Net, str], str]) -> str:
    """A convolution, its result transposed, something, and transposed again."""
    there, back = perms
    return net.op("Transpose", through(net, net.op("Transpose", conv(net), perm=there)), perm=back)


def sequence_conv(net: Net, x: str, kernel: int = 1) -> str:
    return net.op("Conv", x, weights(net, 3, 3, kernel), kernel_shape=[kernel])


def places_as_rows(net: Net) -> str:
    rows = net.op("Reshape", net.conv("input", 3, 4), integers(net, 0, 4, -1))
    return net.op("MatMul", net.op("Transpose", rows, perm=[0, 2, 1]), weights(net, 4, 2))


def back_to_maps(net: Net) -> str:
    columns = net.op("Transpose", places_as_rows(net), perm=[0, 2, 1])
    return net.conv(net.op("Reshape", columns, integers(net, 0, 2, 4, 5)), 2, 2)


def two_ordered_readers(net: Net) -> str:
    made = conv(net)
    return net.op("Concat", net.op("Softmax", made, axis=2), net.op("Tile", made, integers(net, 1, 1, 1, 1)), axis=1)


def two_ranks(net: Net) -> str:
    made = conv(net)
    mean = net.op("ReduceMean", made, integers(net, 2, 3), keepdims=0)
    return net.op("Add", net.op("Reshape", mean, integers(net, -1, 3, 1, 1)), made)


def twice_over(net: Net, kind: str = "Concat") -> str:
    return net.op(kind, net.relu(made := conv(net)), made, **({"axis": 1} if kind == "Concat" else {}))


LAYOUTS: dict[str, tuple[tuple[int, ...], Build, str]] = {
    "layers in a row": (MAP, lambda net: conv(net, conv(net)), "CONV_2D CONV_2D"),
    "layers of sequences": (
        SEQUENCE, lambda net: sequence_conv(net, sequence_conv(net, "input", 3), 3),
        "TRANSPOSE RESHAPE CONV_2D CONV_2D RESHAPE TRANSPOSE",
    ),
    "a sum of sequences": (
        SEQUENCE, lambda net: sequence_conv(net, net.op("Add", sequence_conv(net, "input"), "input")),
        "TRANSPOSE RESHAPE CONV_2D RESHAPE ADD RESHAPE CONV_2D RESHAPE TRANSPOSE",
    ),
    "flattened places": (MAP, lambda net: net.gemm(net.op("Flatten", conv(net)), 60, 2),
        "CONV_2D TRANSPOSE RESHAPE FULLY_CONNECTED"),
    "one flattened place": (MAP, lambda net: net.gemm(net.op("Flatten", net.op("GlobalMaxPool", conv(net))), 3, 2),
        "CONV_2D REDUCE_MAX RESHAPE FULLY_CONNECTED"),
    "one flattened channel": (MAP, lambda net: net.gemm(net.op("Flatten", net.conv("input", 3, 1)), 20, 2),
        "CONV_2D RESHAPE FULLY_CONNECTED"),
    "two readers in ONNX's order": (MAP, two_ordered_readers,
        "CONV_2D TRANSPOSE TRANSPOSE SOFTMAX TRANSPOSE TILE CONCATENATION"),
    "turned to channels last": (MAP, on_conv("Transpose", perm=[0, 2, 3, 1]), "CONV_2D RESHAPE"),
    "turned on its side": (MAP, lambda net: conv(net, on_conv("Transpose", perm=[0, 1, 3, 2])(net)),
        "CONV_2D TRANSPOSE CONV_2D"),
    "there and back": (MAP, lambda net: conv(net, moved(net, [0, 2, 3, 1], [0, 3, 1, 2],
        through=lambda net, x: net.op("Abs", x))), "CONV_2D ABS CONV_2D"),
    "places as rows": (MAP, places_as_rows, "CONV_2D RESHAPE FULLY_CONNECTED"),
    "and back to maps": (MAP, back_to_maps, "CONV_2D RESHAPE FULLY_CONNECTED TRANSPOSE RESHAPE TRANSPOSE CONV_2D"),
    "a vector beside maps": (MAP, two_ranks, "CONV_2D MEAN RESHAPE TRANSPOSE ADD"),
    "maps of an input in ONNX's order": ((5, 5, 5), lambda net: net.op("Mul", net.op("Unsqueeze", net.op("ReduceMean",
        "input", integers(net, 2, 3), keepdims=0), integers(net, 1, 2)), net.conv("input", 5, 5)),
        "MEAN RESHAPE CONV_2D TRANSPOSE MUL"),
    "a squeezed axis": ((3, 1, 5), on_conv("Squeeze", lambda net: integers(net, 2)), "CONV_2D RESHAPE TRANSPOSE"),
    "a norm of places": (MAP, on_conv("InstanceNormalization", lambda net: net.constant([1.0, 2, 3]),
        lambda net: net.constant([0.0, 1, 2])), "CONV_2D MEAN SUB SQUARE MEAN ADD RSQRT MUL MUL ADD"),
    "a norm of rows": (MAP, on_conv("LayerNormalization", lambda net: weights(net, 5), lambda net: weights(net, 5)),
        "CONV_2D TRANSPOSE MEAN SUB SQUARE MEAN ADD RSQRT MUL MUL ADD"),
    "a norm of channels": (MAP, lambda net: conv(net, moved(net, [0, 2, 3, 1], [0, 3, 1, 2], through=lambda net, x:
        net.op("LayerNormalization", x, weights(net, 3), weights(net, 3)))),
        "CONV_2D MEAN SUB SQUARE MEAN ADD RSQRT MUL MUL ADD CONV_2D"),
    "a norm without a shift": (MAP, lambda net: net.op("LayerNormalization", "input", weights(net, 5), epsilon=0.01),
        "TRANSPOSE MEAN SUB SQUARE MEAN ADD RSQRT MUL MUL"),
    "a norm over two axes": (MAP, lambda net: net.op("LayerNormalization", "input", weights(net, 4, 5),
        weights(net, 4, 5), axis=2), "TRANSPOSE MEAN SUB SQUARE MEAN ADD RSQRT MUL MUL ADD"),
    "the place of the largest": (MAP, lambda net: net.op("Cast", on_conv("ArgMax", axis=1, keepdims=0)(net), to=1),
        "CONV_2D TRANSPOSE ARG_MAX CAST"),
    "the place of the smallest": (MAP, lambda net: net.op("Cast", net.op("ArgMin", "input", axis=-1), to=1),
        "TRANSPOSE ARG_MIN RESHAPE CAST"),
    "a length": (MAP, lambda net: net.op("ReduceL2", "input", integers(net, 1)), "SQUARE SUM SQRT"),
    **{f"a mean over {axes}": (MAP, on_conv("ReduceMean", lambda net, axes=axes: integers(net, *axes), keepdims=0),
        f"CONV_2D {'TRANSPOSE ' if axes in ((2,), (3,)) else ''}MEAN")
        for axes in ((1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3))},
    **{f"a kept mean over {axes}": (MAP, on_conv("ReduceMean", lambda net, axes=axes: integers(net, *axes)),
        "CONV_2D MEAN") for axes in ((1,), (2,), (3,), (2, 3), (1, 2, 3))},
    **{f"a softmax over {axis}": (MAP, on_conv("Softmax", axis=axis), f"CONV_2D {ops}") for axis, ops in
        {1: "SOFTMAX", 2: "TRANSPOSE TRANSPOSE SOFTMAX TRANSPOSE", 3: "TRANSPOSE SOFTMAX", -3: "SOFTMAX"}.items()},
    **{f"joined along {axis}": (MAP, lambda net, axis=axis: net.op("Concat", conv(net), net.relu("input"), axis=axis),
        "CONV_2D RELU CONCATENATION") for axis in (1, 2, 3, -1, -3)},
    **{f"a constant of {shape} behind": (MAP, on_conv("Add", lambda net, shape=shape: weights(net, *shape)),
        "CONV_2D ADD") for shape in ((), (5,), (4, 1), (3, 1, 1), (1, 3, 4, 5))},
    **{f"a constant of {shape} before": (MAP, lambda net, shape=shape: net.op("Sub", weights(net, *shape), "input"),
        "SUB") for shape in ((), (5,), (4, 1), (3, 1, 1), (1, 3, 4, 5))},
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_maps_are_turned_only_where_an_op_wants_it(name: str) -> None:
    becomes(*LAYOUTS[name])


def product(net: Net) -> str:
    return net.op("MatMul", "input", weights(net, 6, 3))


def rows_mean(net: Net) -> str:
    return net.op("ReduceMean", "input", integers(net, 1))


def expanded(net: Net, x: str) -> str:
    return net.op("Expand", x, integers(net, 1, 3, 4, 5))


MERGED: dict[str, tuple[tuple[int, ...], Build, str]] = {
    "an expansion before a sum": (MAP, lambda net: net.op("Add", expanded(net, rows_mean(net)), "input"), "MEAN ADD"),
    "an expansion that a sum needs": (MAP, lambda net: net.op("Add", expanded(net, m := rows_mean(net)), m),
        "MEAN ADD ADD"),
    "an expansion that is the output": (MAP, lambda net: expanded(net, rows_mean(net)), "MEAN ADD"),
    "a bias": ((4, 6), lambda net: net.op("Add", product(net), weights(net, 3)), "FULLY_CONNECTED"),
    "a bias in front": ((4, 6), lambda net: net.op("Add", weights(net, 3), product(net)), "FULLY_CONNECTED"),
    "one number": ((4, 6), lambda net: net.op("Add", product(net), weights(net, 1)), "FULLY_CONNECTED ADD"),
    "a difference": ((4, 6), lambda net: net.op("Sub", product(net), weights(net, 3)), "FULLY_CONNECTED SUB"),
    "a product with two readers": ((4, 6), lambda net: net.op("Add", m := product(net), net.op("Add", m,
        weights(net, 3))), "FULLY_CONNECTED ADD ADD"),
    "the largest of three": (MAP, lambda net: net.op("Max", "input", net.constant(0.5), net.op("Neg", "input")),
        "NEG MAXIMUM MAXIMUM"),
    "the largest of one": (MAP, lambda net: net.op("Abs", net.op("Max", "input")), "ABS"),
    "a slice of all": (MAP, lambda net: net.op("Abs", net.op("Slice", "input", integers(net, 0), integers(net, 99),
        integers(net, 2))), "ABS"),
    "a pad of nothing": (MAP, lambda net: net.op("Abs", net.op("Pad", "input", integers(net, *[0] * 8))), "ABS"),
    "a ReLU6": (MAP, lambda net: net.relu6(conv(net)), "CONV_2D"),
    "a ReLU beside another reader": (MAP, twice_over, "CONV_2D RELU CONCATENATION"),
    "two activations": (MAP, lambda net: net.relu(net.relu6(conv(net))), "CONV_2D RELU"),
    "a ReLU of the input": (MAP, lambda net: net.relu("input"), "RELU"),
    "other bounds": (MAP, on_conv("Clip", lambda net: net.constant(-0.5), lambda net: net.constant(0.5)),
        "CONV_2D MAXIMUM MINIMUM"),
    "a layer for each channel": (MAP, lambda net: net.conv("input", 3, 6, group=3), "DEPTHWISE_CONV_2D"),
    "parts": ((4, 4, 5), lambda net: net.op("Concat", *reversed([net.op("Slice", "input", integers(net, start),
        integers(net, end), integers(net, 1)) for start, end in ((0, 1), (1, 4))]), axis=1),
        "STRIDED_SLICE STRIDED_SLICE CONCATENATION"),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_what_an_op_takes_in_has_none_of_its_own(name: str) -> None:
    becomes(*MERGED[name])


POOLS = {
    "same": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4}, "MAX_POOL_2D"),
    "padded": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}, "PADV2 MAX_POOL_2D"),
    "rounded up": ("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, "MAX_POOL_2D"),
    "mean": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 1]}, "AVERAGE_POOL_2D"),
    "mean, same": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4}, "AVERAGE_POOL_2D"),
    "mean, padding counted": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
        "PAD AVERAGE_POOL_2D"),
    "mean, padding left out": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 1, 0, 1]},
        "PAD AVERAGE_POOL_2D MUL"),
    "mean, rounded up": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1},
        "PAD AVERAGE_POOL_2D MUL"),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_padded_only_where_tflite_does_not(name: str) -> None:
    kind, options, ops = POOLS[name]
    becomes((3, 5, 6), lambda net: net.op(kind, "input", **options), ops)
