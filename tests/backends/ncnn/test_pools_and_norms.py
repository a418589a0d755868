"""Pools, reductions, norms and resizing: by each form of their attributes against ONNX Runtime, else refused."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from tests.backends.ncnn.arithmetic import as_ncnn
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net, reference

MAP, ROW, VOLUME = (5, 6, 7), (5, 9), (3, 2, 4, 5)
UNLIKE: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 2, 1]}


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        (MAP, UNLIKE),
        (MAP, {"kernel_shape": [2, 3]}),
        (ROW, {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}),
        (ROW, {"kernel_shape": [2]}),
        (MAP, {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": "SAME_UPPER"}),
        (MAP, {"kernel_shape": [4, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"}),
        (ROW, {"kernel_shape": [4], "strides": [2], "auto_pad": "SAME_LOWER"}),
    ],
)
def test_pools_have_a_window_of_their_own_along_each_axis(
    kind: str, shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    net = Net(0, shape)
    pooled = net.op(kind, "input", **attributes)
    agrees(net, pooled, net.op("Softmax", pooled, axis=-1))


def test_one_axis_is_pooled_as_a_map_one_row_high() -> None:
    """ncnn reads beyond a blob that is said to be larger, and may still answer well."""
    net = Net(0, ROW)
    first = agrees(net, net.op("MaxPool", "input", kernel_shape=[2])).layers[1]
    assert (first.kind, *(first.number(key) for key in (2, 1, 0))) == ("Reshape", 5, 1, 9)


@pytest.mark.parametrize("counted", [0, 1])
def test_means_count_what_is_padded_if_told(counted: int) -> None:
    net = Net(0, MAP)
    agrees(net, net.op("AveragePool", "input", count_include_pad=counted, **UNLIKE))


@pytest.mark.parametrize("attributes", [{"ceil_mode": 1}, {"dilations": [1, 2]}, {"dilations": [2, 1]}, {}])
def test_pools_that_ncnn_does_not_have_are_refused(attributes: dict[str, Any]) -> None:
    net = Net(0, MAP)
    pooled = net.op("MaxPool", "input", kernel_shape=[2, 2], **attributes)
    if not attributes:
        net.nodes[-1].output.append("indices")
    with pytest.raises(BadInputError, match="'maxpool_0' .*: the ncnn backend pools without ceil_mode, dilations and"):
        build(net.model(pooled), "float")


@pytest.mark.parametrize("shape", [MAP, ROW, VOLUME, (5, 1)])
@pytest.mark.parametrize("kind", ["GlobalMaxPool", "GlobalAveragePool"])
def test_whole_maps_of_any_rank_are_pooled(kind: str, shape: tuple[int, ...]) -> None:
    net = Net(0, shape)
    pooled = net.op(kind, "input")
    found = agrees(net, pooled, net.op("Sub", "input", pooled))
    assert found.kinds.count("Pooling") == 1


@pytest.mark.parametrize(
    ("pool", "size", "quantisers"),
    [
        ("MaxPool<kernel_shape = [2, 2]>", 2, 1),
        ("AveragePool<kernel_shape = [2, 2]>", 2, 2),
        ("GlobalMaxPool", 1, 1),
        ("GlobalAveragePool", 1, 2),
    ],
)
def test_maxima_stay_on_their_grid_and_means_leave_it(pool: str, size: int, quantisers: int) -> None:
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        net (float[n, 2, 3, 3] input) => (float[n, 2, {size}, {size}] y) <float s = {{0.1}}, int8 z = {{0}}> {{
            a = QuantizeLinear(input, s, z)
            b = DequantizeLinear(a, s, z)
            c = {pool}(b)
            d = QuantizeLinear(c, s, z)
            y = DequantizeLinear(d, s, z)
        }}"""
    )
    x = np.random.default_rng(0).uniform(-9, 9, (16, 2, 3, 3)).astype(np.float32)
    built = build(model)
    assert built.kinds.count("Quantize") == quantisers
    apart = np.abs(built.run(x)["y"] - reference(as_ncnn(model), x, ["y"])["y"])
    assert apart.max() <= 0.101  # ties: a mean may lie between two steps


@pytest.mark.parametrize("axes", [[1], [2], [-1], [2, 3], [-1, 1]])
@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
def test_reductions_keep_their_axes_or_not(kind: str, axes: list[int]) -> None:
    net = Net(0, MAP)
    place = net.constant(axes, np.int64)
    kept = net.op(kind, "input", place)
    found = agrees(net, kept, net.op("Sub", "input", kept))
    assert "Reshape" not in found.kinds
    net = Net(0, MAP)
    agrees(net, net.op(kind, "input", net.constant(axes, np.int64), keepdims=0))


@pytest.mark.parametrize("operands", [(), ([],)])
def test_a_reduction_without_axes_is_refused(operands: tuple[list[int], ...]) -> None:
    net = Net(0, MAP)
    made = net.op("ReduceMean", "input", *(net.constant(axes, np.int64) for axes in operands))
    with pytest.raises(BadInputError, match="'reducemean_0' .*: the ncnn backend reduces axes that are named"):
        build(net.model(net.op("Add", "input", made)), "float")


@pytest.mark.parametrize("attributes", [{}, {"axis": -1}, {"axis": 2}, {"axis": 3, "epsilon": 0.5}])
@pytest.mark.parametrize("shifted", [True, False])
def test_layer_norm_of_any_axes(attributes: dict[str, Any], shifted: bool) -> None:
    net = Net(0, MAP)
    covered = MAP[1:] if attributes.get("axis") == 2 else MAP[2:]
    operands = [net.constant(net.rng.normal(1, 0.3, covered)) for _ in range(1 + shifted)]
    agrees(net, net.op("LayerNormalization", "input", *operands, **attributes))


def test_a_layer_norm_whose_scale_is_stretched_is_refused() -> None:
    net = Net(0, MAP)
    made = net.op("LayerNormalization", "input", net.constant(np.ones(7)), axis=2)
    with pytest.raises(BadInputError, match=r"its scale and bias do not cover what it normalises"):
        build(net.model(made), "float")


@pytest.mark.parametrize("attributes", [{}, {"epsilon": 0.5}])
def test_a_batch_norm_of_features_behind_no_layer(attributes: dict[str, Any]) -> None:
    net, shape = Net(0, (6,)), (6,)
    numbers = [net.constant(net.rng.uniform(low, 2, shape[0])) for low in (-1, -1, -1, 0.1)]
    found = agrees(net, net.op("BatchNormalization", net.relu("input"), *numbers, **attributes))
    assert "BatchNorm" in found.kinds


@pytest.mark.parametrize(
    ("shape", "scales", "attributes"),
    [((5, 6), (1, 1, 2), {}), (MAP, (1, 2, 2, 2), {}), (MAP, (1, 1, 2, 2), {"antialias": 1, "mode": "linear"})],
)
def test_resizing_of_other_than_two_axes_is_refused(
    shape: tuple[int, ...], scales: tuple[float, ...], attributes: dict[str, Any]
) -> None:
    net = Net(0, shape)
    made = net.op("Resize", "input", "", net.constant(scales), **attributes)
    with pytest.raises(BadInputError, match="the ncnn backend resizes maps of two axes, without antialias"):
        build(net.model(made), "float")
