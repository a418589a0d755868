"""GridSample against ONNX Runtime: places within the map, on its corners, between elements and far beyond.

Tolerance: a place is scaled by a rounding of at most 1e-6 elements, whose values differ by less than ten.
"""

import numpy as np
import pytest

from edgekd.errors import BadInputError
from tests import factories
from tests.backends.tflite.harness import build, float_distance, steps_apart
from tests.factories import Net

ROUNDING = 1e-5


def sampled(net: Net, grid: str, x: str = "input", **options: object) -> str:
    return net.op("GridSample", x, grid, **options)


def moving(net: Net, reach: float = 1.6) -> str:
    """A grid that the input makes."""
    places = net.op("Mul", net.op("Tanh", net.conv("input", net.shape[0], 2)), net.constant(reach))
    return net.op("Transpose", net.op("Clip", places, net.constant(-1.0), net.constant(1.25)), perm=[0, 2, 3, 1])


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_samples_are_those_of_onnx_runtime(mode: str, padding: str, corners: int) -> None:
    for shape in ((3, 4, 6), (1, 5, 1), (2, 1, 4)):
        net = Net(0, shape)
        far = net.op("Mul", moving(net), net.constant(3.0))
        options = {"mode": mode, "padding_mode": padding, "align_corners": corners}
        made = [sampled(net, grid, **options) for grid in (moving(net), far)]
        model = net.model(*made, names=("near", "far"))
        assert float_distance(model, net.inputs(3, seed=1)) <= ROUNDING


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_place_between_two_elements_is_rounded_to_the_even_one(padding: str, corners: int) -> None:
    net = Net(0, (2, 4, 4))
    steps = (np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), -1) / 4).astype(np.float32)
    zeros = net.op("Mul", net.op("ReduceMax", "input", net.constant([1, 2, 3], np.int64)), net.constant(0.0))
    grid = net.op("Add", zeros, net.constant(steps))
    made = sampled(net, grid, mode="nearest", padding_mode=padding, align_corners=corners)
    assert float_distance(net.model(made), net.inputs(2, seed=1)) == 0


def test_a_grid_may_be_stored_as_a_map_is() -> None:
    net = Net(0, (3, 4, 2))
    made = sampled(net, net.op("Tanh", "input"), net.conv("input", 3, 4))
    assert float_distance(net.model(made), net.inputs(3, seed=1)) <= ROUNDING


def test_a_constant_map_is_refused() -> None:
    net = Net(0, (3, 4, 2))
    model = net.model(sampled(net, net.op("Tanh", "input"), net.constant(np.zeros((1, 2, 3, 3)))))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(BadInputError, match=r"\(GridSample\): its map is a constant"):
        build(model, "float")


def test_it_stays_in_float_between_layers_in_int8() -> None:
    net = Net(0, (3, 6, 6))
    made = sampled(net, moving(net), net.relu(net.conv("input", 3, 4)), mode="linear")
    model = factories.quantize(net.model(net.conv(made, 4, 2)), net.inputs(32))
    built = build(model)
    assert [note for note in built.compiled.notes if "GridSample" in note] == [
        "float island: node 'gridsample_7' (GridSample): TFLite has no int8 GridSample"
    ]
    assert steps_apart(model, factories.on_grid(model, net.inputs(4, seed=1))) <= 2.01  # as any net with XNNPACK


@pytest.mark.parametrize(
    ("shape", "mode", "reason"),
    [
        (
            (2, 4, 4),
            "cubic",
            "linear and nearest samples of 2-D maps have a TFLite form: export it with mode='bilinear'",
        ),
        ((2, 3, 4, 4), "linear", "1-D and 2-D maps"),
    ],
)
def test_other_samples_are_refused(shape: tuple[int, ...], mode: str, reason: str) -> None:
    net = Net(0, shape)
    size = len(shape) - 1
    zeros = net.op("Mul", net.op("ReduceMax", "input", net.constant(range(1, size + 2), np.int64)), net.constant(0.0))
    grid = net.op("Add", zeros, net.constant(np.zeros((*[2] * size, size))))
    with pytest.raises(BadInputError, match=rf"node 'gridsample_3' \(GridSample\): only {reason}"):
        build(net.model(sampled(net, grid, mode=mode)), "float")
