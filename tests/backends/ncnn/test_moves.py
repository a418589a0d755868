"""What moves values: by each form of its operands and attributes against ONNX Runtime, else refused."""

from itertools import permutations
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from tests.backends.ncnn.arithmetic import as_ncnn
from tests.backends.ncnn.harness import agrees, build
from tests.factories import Net, reference

SHAPES = {1: (6,), 2: (5, 6), 3: (3, 5, 6), 4: (2, 3, 4, 5)}
MAP = SHAPES[3]


def refused(net: Net, edge: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        build(net.model(edge), "float")


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_axes_change_places_in_any_order(rank: int) -> None:
    net = Net(0, SHAPES[rank])
    orders = [(0, *order) for order in permutations(range(1, rank + 1))]
    agrees(net, *(net.op("Transpose", "input", perm=order) for order in orders))


@pytest.mark.parametrize("shape", [(1, 5, 6), (5, 1, 6), (5, 6, 1), (1, 1, 6), (4, 1, 1)])
def test_where_only_axes_of_one_move_shapes_change(shape: tuple[int, ...]) -> None:
    net = Net(0, shape)
    found = agrees(net, *(net.op("Transpose", "input", perm=(0, *order)) for order in permutations((1, 2, 3))))
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    assert found.kinds.count("Permute") == (3 if len(wide) == 2 else 0)


def test_all_axes_are_turned_round_where_no_order_is_given() -> None:
    net = Net(0, (4, 6))
    turned = net.op("Transpose", "input")
    agrees(net, net.op("Transpose", net.op("Abs", turned)))


@pytest.mark.parametrize(
    ("starts", "ends", "axes"),
    [
        ([1], [4], [2]),
        ([1], [1 << 40], [-1]),
        ([-4], [-1], [-2]),
        ([1, 0, 2], [3, 4, 6], [1, 2, 3]),
        ([2, 1], [5, 2], [3, 1]),
        ([0, 1, 0, 0], [1 << 40, 2, 1 << 40, 1 << 40], None),
        ([0], [1 << 40], [2]),
    ],
)
def test_a_span_is_cut_out_of_any_axes(starts: list[int], ends: list[int], axes: list[int] | None) -> None:
    net = Net(0, MAP)
    operands = [net.constant(value, np.int64) for value in (starts, ends, *([axes] if axes else []))]
    agrees(net, net.op("Abs", net.op("Slice", "input", *operands)))


def test_a_span_by_ones_is_cut_and_by_more_refused() -> None:
    for step in (1, 2):
        net = Net(0, MAP)
        operands = [net.constant([value], np.int64) for value in (1, 4, 2, step)]
        y = net.op("Slice", "input", *operands)
        if step == 1:
            agrees(net, y)
        else:
            refused(net, y, "'slice_0' .*: the ncnn backend cuts between two limits, without steps")


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("index", [0, 2, -1, [1], [0, 1, 2], [1, 2], [-2, -1]])
def test_what_follows_each_other_is_taken(axis: int, index: int | list[int]) -> None:
    net = Net(0, MAP)
    agrees(net, net.op("Gather", "input", net.constant(index, np.int64), axis=axis))


@pytest.mark.parametrize("index", [[0, 2], [1, 0], [[0, 1]], [2, 3, 3]])
def test_other_indices_are_refused(index: list[Any]) -> None:
    net = Net(0, MAP)
    y = net.op("Gather", "input", net.constant(index, np.int64), axis=2)
    refused(net, y, "'gather_0' .*: the ncnn backend takes indices that follow each other")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_edges_are_padded_on_each_side_by_itself(rank: int, mode: str) -> None:
    """Of channels by constants alone."""
    net, flat = Net(0, SHAPES[rank]), rank == 3 and mode != "constant"
    before, after = [1, 0, 2], [0, 3, 1]
    amounts = [0, *([0] if flat else before[:1]), *before[1:rank]], [0, *([0] if flat else after[:1]), *after[1:rank]]
    agrees(net, net.op("Pad", "input", net.constant([*amounts[0], *amounts[1]], np.int64), mode=mode))


@pytest.mark.parametrize("value", [None, 0.0, 1.5])
@pytest.mark.parametrize("axes", [[2], [-1], [3, 1]])
def test_axes_that_are_named_are_padded_by_a_number(axes: list[int], value: float | None) -> None:
    net = Net(0, MAP)
    pads = net.constant([*range(1, len(axes) + 1), *(2 for _ in axes)], np.int64)
    agrees(
        net, net.op("Pad", "input", pads, "" if value is None else net.constant(value), net.constant(axes, np.int64))
    )


@pytest.mark.parametrize(
    ("shape", "pads", "mode", "told"),
    [
        (MAP, [0, 0, 0, -1, 0, 0, 0, 0], "constant", "the ncnn backend pads up to three axes, by constant amounts"),
        (SHAPES[4], [0, 0, 0, 0, 1, 0, 0, 0, 0, 0], "constant", "the ncnn backend pads up to three axes"),
        (MAP, [0, 0, 0, 1, 0, 0, 0, 0], "wrap", "the ncnn backend pads up to three axes"),
        (MAP, [0, 1, 0, 0, 0, 0, 0, 0], "edge", "the ncnn backend repeats rows and columns, not channels"),
    ],
)
def test_other_pads_are_refused(shape: tuple[int, ...], pads: list[int], mode: str, told: str) -> None:
    net = Net(0, shape)
    refused(net, net.op("Pad", "input", net.constant(pads, np.int64), mode=mode), f"'pad_0' .*: {told}")


@pytest.mark.parametrize(("axis", "sizes"), [(1, [1, 2]), (2, [1, 3, 1]), (3, [2, 2, 2]), (-1, [5, 1])])
def test_an_axis_is_split_into_parts(axis: int, sizes: list[int]) -> None:
    net = Net(0, MAP)
    net.op("Split", "input", net.constant(sizes, np.int64), axis=axis)
    net.nodes[-1].output[:] = [f"part{index}" for index in range(len(sizes))]
    agrees(net, *(net.op("Neg", f"part{index}") for index in range(len(sizes))))


@pytest.mark.parametrize("attributes", [{}, {"mode": "DCR"}, {"mode": "CRD"}])
@pytest.mark.parametrize("size", [2, 3])
def test_channels_become_places(attributes: dict[str, Any], size: int) -> None:
    net = Net(0, (2 * size * size, 3, 2))
    agrees(net, net.op("DepthToSpace", "input", blocksize=size, **attributes))


def test_a_cast_to_float_is_none_and_another_is_refused() -> None:
    net = Net(0, MAP)
    assert agrees(net, net.op("Cast", net.op("Identity", net.relu("input")), to=1)).kinds == ["Input", "ReLU"]
    net = Net(0, MAP)
    y = net.op("Cast", net.op("Cast", "input", to=7), to=1)
    refused(net, y, "'cast_0' .*: the ncnn backend computes in float alone")


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_tensors_are_joined_along_any_axis(axis: int) -> None:
    net = Net(0, MAP)
    agrees(net, net.op("Concat", "input", net.op("Neg", "input"), net.relu("input"), axis=axis))


@pytest.mark.parametrize(
    ("move", "sizes", "quantisers"),
    [
        ("Transpose<perm = [0, 2, 1]>(b)", (4, 2), 1),
        ("Reshape(b, shape)", (4, 2), 1),
        ("Concat<axis = 1>(b, b)", (4, 4), 1),
        ("Concat<axis = 1>(b, e)", (4, 4), 2),
        ("Slice(b, one, two, one)", (1, 4), 1),
        ("Gather<axis = 1>(b, one)", (1, 4), 1),
        ("Pad(b, pads)", (3, 6), 1),
        ("Pad(b, pads, half)", (3, 6), 2),
        ("Identity(b)", (2, 4), 1),
    ],
)
def test_what_only_moves_stays_on_its_grid(move: str, sizes: tuple[int, int], quantisers: int) -> None:
    """It is quantised again where another number came in."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        net (float[n, 2, 4] input) => (float[n, {sizes[0]}, {sizes[1]}] y)
        <float s = {{0.1}}, int8 z = {{0}}, int64[3] shape = {{-1, 4, 2}}, int64[1] one = {{1}}, int64[1] two = {{2}},
         int64[6] pads = {{0, 1, 0, 0, 0, 2}}, float half = {{0.5}}> {{
            a = QuantizeLinear(input, s, z)
            b = DequantizeLinear(a, s, z)
            e = Abs(b)
            c = {move}
            d = QuantizeLinear(c, s, z)
            y = DequantizeLinear(d, s, z)
        }}"""
    )
    x = np.random.default_rng(0).uniform(-12, 12, (16, 2, 4)).astype(np.float32)
    built = build(model)
    assert built.kinds.count("Quantize") == quantisers
    np.testing.assert_array_equal(built.run(x)["y"], reference(as_ncnn(model), x, ["y"])["y"])


@pytest.mark.parametrize("before", [(120,), (6, 20), (4, 5, 6), (5, 2, 3, 4)])
@pytest.mark.parametrize("after", [(120,), (8, 15), (3, 5, 8), (2, 3, 4, 5)])
def test_shapes_of_any_rank_become_each_other(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    net = Net(0, before)
    shaped = net.op("Reshape", net.relu("input"), net.constant([-1, *after], np.int64))
    agrees(net, net.op("Softmax", net.op("Add", shaped, net.constant(net.rng.normal(0, 1, after))), axis=-1))
