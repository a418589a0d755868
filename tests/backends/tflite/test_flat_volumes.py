"""Pools and resizes of volumes: two of maps give what ONNX Runtime's kernels for volumes do."""

from typing import Any

import numpy as np
import pytest

from edgekd.errors import BadInputError
from tests.backends.tflite.harness import build, float_distance
from tests.factories import Net

SHAPE = (2, 5, 6, 7)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "pads": [0, 1, 0, 1, 1, 0]}),
        ("MaxPool", {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "auto_pad": "SAME_UPPER"}),
        ("AveragePool", {"kernel_shape": [2, 2, 3], "strides": [1, 2, 2], "pads": [1, 0, 1, 0, 0, 1]}),
        ("AveragePool", {"kernel_shape": [3, 2, 2], "pads": [1, 1, 1, 1, 1, 1], "count_include_pad": 1}),
    ],
)
def test_windows_of_a_volume_are_planes_then_depth(kind: str, attributes: dict[str, Any]) -> None:
    net = Net(0, SHAPE)
    # float32: means of means, of values up to a few tens
    assert float_distance(net.model(net.op(kind, "input", **attributes)), net.inputs(3, seed=1)) <= 1e-5


@pytest.mark.parametrize("kernel", [[1, 2, 2], [3, 1, 1]])
def test_one_side_alone_takes_one_pool(kernel: list[int]) -> None:
    net = Net(0, SHAPE)
    model = net.model(net.op("AveragePool", "input", kernel_shape=kernel))
    assert build(model, "float").ops.count("AVERAGE_POOL_2D") == 1
    assert float_distance(model, net.inputs(3, seed=1)) <= 1e-5


@pytest.mark.parametrize(
    ("mode", "scales", "options"),
    [
        ("nearest", [2.0, 2.0, 2.0], {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("linear", [2.0, 1.0, 2.0], {"coordinate_transformation_mode": "align_corners"}),
        ("linear", [1.6, 2.0, 1.0], {}),
    ],
)
def test_a_volume_is_resized_side_by_side(mode: str, scales: list[float], options: dict[str, Any]) -> None:
    net = Net(0, SHAPE)
    made = net.op("Resize", "input", "", net.constant([1.0, 1.0, *scales]), mode=mode, **options)
    assert float_distance(net.model(made), net.inputs(3, seed=1)) <= 1e-5  # float32: products in another order


def test_a_volume_is_resized_to_sizes_whose_scales_are_rounded() -> None:
    net = Net(0, (2, 3, 6, 7))
    made = net.op("Resize", "input", "", "", net.constant([1, 2, 5, 10, 9], np.int64), mode="linear")
    assert float_distance(net.model(made), net.inputs(1, seed=1)) <= 1e-5  # float32: products in another order


def test_a_volume_whose_channels_grow_is_refused() -> None:
    net = Net(0, SHAPE)
    made = net.op("Resize", "input", "", net.constant([1.0, 2.0, 1.0, 1.0, 1.0]), mode="nearest")
    with pytest.raises(
        BadInputError, match=r"'resize_0' \(Resize\): volumes are resized by known scales, channels not"
    ):
        build(net.model(made), "float")


def test_a_volume_is_not_read_at_the_nearest_by_scales_that_are_rounded() -> None:
    net = Net(0, (2, 3, 6, 7))
    made = net.op("Resize", "input", "", "", net.constant([1, 2, 5, 6, 7], np.int64), mode="nearest")
    with pytest.raises(BadInputError, match="to the nearest by exact ones"):
        build(net.model(made), "float")
