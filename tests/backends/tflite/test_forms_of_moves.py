"""Slices, gathers, expansions, pads, resizes and transposed convolutions: their TFLite ops, and the same numbers."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto

from tests.backends.tflite.harness import build
from tests.backends.tflite.test_forms import MAP, SEQUENCE, becomes, integers, weights
from tests.factories import Net

END = 2**63 - 1
SHUFFLED = "PAD CONV_2D DEPTH_TO_SPACE STRIDED_SLICE"
CEIL = {"nearest_mode": "round_prefer_ceil"}


@pytest.mark.parametrize(
    ("shape", "limits", "ops"),
    [
        ((4, 5, 6), ([1, 1], [4, -1], [2, -1]), "STRIDED_SLICE"),
        ((4, 5), ([0, 1, 0], [END, 3, 5]), "STRIDED_SLICE"),
        ((4, 6), ([0], [6], [1], [2]), "STRIDED_SLICE"),
        ((4, 6), ([-1], [-END], [2], [-1]), "STRIDED_SLICE"),
        ((4, 6), ([4], [1], [2], [-2]), "STRIDED_SLICE"),
        ((4, 6), ([4], [-6], [2], [-1]), "STRIDED_SLICE"),
        ((4, 6), ([9], [-9], [2], [-1]), "STRIDED_SLICE"),
        ((4, 6), ([0], [END], [2]), "RESHAPE"),
        ((4, 6), ([0, 0], [4, 6], [1, 2], [1, 1]), "RESHAPE"),
        ((6,), ([-3], [-1], [1]), "STRIDED_SLICE"),
        ((5, 6), ([1, 2], [3, 4], [1, 2], [1, 1]), "STRIDED_SLICE"),
    ],
)
def test_slices(shape: tuple[int, ...], limits: tuple[list[int], ...], ops: str) -> None:
    becomes(shape, lambda net: net.op("Slice", "input", *(integers(net, *values) for values in limits)), ops)


@pytest.mark.parametrize(
    ("limits", "begins", "ends"),
    [
        (([1], [3], [2]), 0b1101, 0b1101),  # rows are the second dimension where channels are last
        (([1, 0], [3, 2], [1, 3]), 0b0011, 0b0011),
        (([-1], [-END], [3], [-1]), 0b1011, 0b1111),  # back to the first, which no number says
        (([-1], [0], [3], [-1]), 0b1011, 0b1011),
    ],
)
def test_dimensions_that_are_taken_whole_stay_open(limits: tuple[list[int], ...], begins: int, ends: int) -> None:
    net = Net(0, (4, 5, 6))
    model = net.model(net.op("Slice", "input", *(integers(net, *values) for values in limits)))
    options = build(model, "float").graph.operators[0].builtinOptions
    assert (options.beginMask, options.endMask) == (begins, ends)


@pytest.mark.parametrize(
    ("shape", "axis", "places", "ops"),
    [
        ((4, 5, 3), 1, 1, "TRANSPOSE STRIDED_SLICE RESHAPE"),
        ((4, 5, 3), 2, -1, "TRANSPOSE STRIDED_SLICE RESHAPE"),
        ((4, 5, 3), 3, [2], "TRANSPOSE STRIDED_SLICE RESHAPE"),
        ((4, 5, 3), 1, [1, 0, -1], "TRANSPOSE GATHER"),
        ((4, 5, 3), 2, [[0, -1], [1, 1]], "TRANSPOSE GATHER"),
        ((4,), -1, 1, "STRIDED_SLICE RESHAPE"),
        ((4, 2), -1, [1, 0], "GATHER"),
        ((1, 4), 1, 0, "STRIDED_SLICE RESHAPE"),
    ],
)
def test_gathers(shape: tuple[int, ...], axis: int, places: object, ops: str) -> None:
    becomes(shape, lambda net: net.op("Gather", "input", net.constant(places, np.int64), axis=axis), ops)


@pytest.mark.parametrize(("shape", "counts"), [((2, 3), [1, 2, 3]), ((4,), [1, 2])])
def test_tiles(shape: tuple[int, ...], counts: list[int]) -> None:
    becomes(shape, lambda net: net.op("Tile", "input", integers(net, *counts)), "TILE")


@pytest.mark.parametrize(("shape", "target"), [((3, 4), [1, 3, 4]), ((1, 4), [1, 3, 4]), ((3, 1), [1, 1, 5])])
def test_expansions_are_sums_with_zeros(shape: tuple[int, ...], target: list[int]) -> None:
    becomes(shape, lambda net: net.op("Expand", "input", integers(net, *target)), "ADD")


@pytest.mark.parametrize(("shape", "target"), [((1, 4), [4]), ((1, 1, 4), [2, 4]), ((4,), [4])])
def test_constants_are_expanded_to_as_many_samples_as_come(shape: tuple[int, ...], target: list[int]) -> None:
    def net_of(net: Net) -> str:
        batch = net.op("Shape", "input", start=0, end=1)
        size = net.op("Concat", batch, integers(net, *target), axis=0)
        expanded = net.op("Expand", weights(net, *shape), size)
        return net.op("Concat", expanded, net.op("Neg", expanded), axis=1)

    becomes((3,), net_of, "STRIDED_SLICE RESHAPE MUL ADD NEG CONCATENATION")


@pytest.mark.parametrize(
    ("target", "ops"),
    [
        ([4], "MEAN STRIDED_SLICE RESHAPE MUL ADD"),
        ([3, 4], "MEAN ADD STRIDED_SLICE RESHAPE MUL ADD"),
        ([1, 4], "MEAN ADD STRIDED_SLICE RESHAPE MUL ADD"),
    ],
)
def test_a_mean_of_all_samples_is_expanded_to_each_of_them(target: list[int], ops: str) -> None:
    def net_of(net: Net) -> str:
        size = net.op("Concat", net.op("Shape", "input", start=0, end=1), integers(net, *target), axis=0)
        return net.op("Expand", net.op("ReduceMean", "input", integers(net, 0)), size)

    becomes((4,), net_of, ops)


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.BOOL])
def test_masks_and_counts_are_expanded_too(kind: int) -> None:
    def net_of(net: Net) -> str:
        size = net.op("Concat", net.op("Shape", "input", start=0, end=1), integers(net, 2, 4), axis=0)
        value = net.constant([[1], [0]], np.int32 if kind == TensorProto.INT32 else np.bool_)
        return net.op("Cast", net.op("Expand", value, size), to=TensorProto.FLOAT)

    sums = "LOGICAL_OR" if kind == TensorProto.BOOL else "ADD"
    becomes((3,), net_of, f"STRIDED_SLICE RESHAPE MUL CAST {sums} CAST")
    net = Net(0, (3,))
    built = build(net.model(net_of(net)), "float")
    options = built.graph.operators[built.ops.index(sums)].builtinOptions
    assert type(options) is (type(None) if kind == TensorProto.BOOL else schema.AddOptionsT)


def test_a_single_number_is_expanded_where_nothing_follows_the_batch() -> None:
    net = Net(0, ())
    model = net.model(net.op("Expand", "input", integers(net, 4)))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    built = build(model, "float")
    assert built.ops == ["ADD"]
    np.testing.assert_array_equal(built.run(np.array([3.0], np.float32))["logits"], [3.0] * 4)


@pytest.mark.parametrize(
    ("mode", "pads", "ops"),
    [
        ("constant", [0, 0, 1, 2, 0, 0, 2, 1], "PAD"),
        ("edge", [0, 0, 1, 2, 0, 0, 2, 1], "GATHER GATHER RESHAPE"),
        ("reflect", [0, 0, 1, 2, 0, 0, 2, 1], "GATHER GATHER RESHAPE"),
        ("wrap", [0, 0, 1, 2, 0, 0, 2, 1], "GATHER GATHER RESHAPE"),
        ("edge", [0, 0, 0, 2, 0, 0, 0, 0], "GATHER RESHAPE"),
        ("constant", [0, 0, 1, -1, 0, 0, -2, 3], "GATHER GATHER PAD"),
        ("constant", [0, 0, 0, -1, 0, 0, 0, -1], "GATHER RESHAPE"),
        ("constant", [0, 1, 0, 0, 0, 0, 0, 0], "PAD"),
    ],
)
def test_pads(mode: str, pads: list[int], ops: str) -> None:
    becomes(MAP, lambda net: net.op("Pad", "input", integers(net, *pads), mode=mode), ops)


@pytest.mark.parametrize("scale", [(2, 2), (3, 2), (0.5, 0.5)])
@pytest.mark.parametrize("convention", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resizes(mode: str, convention: str, scale: tuple[float, float]) -> None:
    """TFLite has a kernel for each convention but one; cubics are products with matrices."""
    ops = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}.get(
        mode, "TRANSPOSE FULLY_CONNECTED TRANSPOSE FULLY_CONNECTED TRANSPOSE"
    )
    if (mode, convention, scale) == ("nearest", "align_corners", (0.5, 0.5)):
        ops = "GATHER GATHER RESHAPE"
    options = {"mode": mode, "coordinate_transformation_mode": convention}
    options |= {"nearest_mode": "floor"} if (mode, convention) == ("nearest", "asymmetric") else {}
    becomes((2, 4, 6), lambda net: net.op("Resize", "input", "", net.constant([1, 1, *scale]), **options), ops)


@pytest.mark.parametrize(
    ("options", "scale", "align", "half"),
    [
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, (2, 2), 0, 0),
        ({"mode": "nearest", **CEIL}, (0.5, 0.5), 0, 1),
        ({"mode": "nearest", "coordinate_transformation_mode": "align_corners", **CEIL}, (1.5, 1.5), 1, 0),
        ({"mode": "nearest", "coordinate_transformation_mode": "align_corners", **CEIL}, (0.25, 1.5), 1, 0),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, (2, 2), 0, 0),
        ({"mode": "linear"}, (3, 2), 0, 1),
        ({"mode": "linear"}, (0.5, 2), 0, 1),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, (2, 3), 1, 0),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, (0.25, 2), 1, 0),  # to a single row
    ],
)
def test_a_resize_names_the_convention_by_which_it_reads(
    options: dict[str, object], scale: tuple[float, float], align: int, half: int
) -> None:
    def net_of(net: Net) -> str:
        return net.op("Resize", "input", "", net.constant([1, 1, *scale]), **options)

    kind = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}[str(options["mode"])]
    becomes((2, 4, 6), net_of, kind)
    net = Net(0, (2, 4, 6))
    found = build(net.model(net_of(net)), "float").graph.operators[0].builtinOptions
    assert (found.alignCorners, found.halfPixelCenters) == (align, half)


@pytest.mark.parametrize(
    ("shape", "weight", "options", "ops"),
    [
        ((2, 4, 5), (2, 3, 3, 3), {}, "PAD CONV_2D RESHAPE"),
        ((2, 4, 5), (2, 3, 2, 2), {"strides": [2, 2]}, "CONV_2D DEPTH_TO_SPACE"),
        ((2, 4, 5), (2, 3, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, SHUFFLED),
        ((2, 4, 5), (2, 3, 3, 3), {"strides": [2, 2], "pads": [0, 1, 1, 0]}, SHUFFLED),
        ((2, 4, 5), (2, 3, 2, 2), {"strides": [3, 3]}, "CONV_2D DEPTH_TO_SPACE STRIDED_SLICE"),
        ((2, 4, 5), (2, 3, 3, 3), {"strides": [2, 2], "dilations": [2, 2], "pads": [1] * 4}, SHUFFLED),
        ((4, 4, 5), (4, 2, 3, 3), {"strides": [2, 2], "group": 2, "pads": [1] * 4}, SHUFFLED),
        ((2, 4, 5), (2, 3, 4, 2), {"strides": [2, 2], "pads": [1, 0, 1, 0]}, SHUFFLED),
        (SEQUENCE, (3, 2, 4), {"strides": [2], "pads": [1, 1]},
            "TRANSPOSE RESHAPE PAD CONV_2D RESHAPE STRIDED_SLICE RESHAPE TRANSPOSE"),
        (SEQUENCE, (3, 2, 4), {"pads": [1, 0]}, "TRANSPOSE RESHAPE PAD CONV_2D RESHAPE TRANSPOSE"),
    ],
)  # fmt: skip
def test_transposed_convolutions(
    shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, object], ops: str
) -> None:
    becomes(shape, lambda net: net.op("ConvTranspose", "input", weights(net, *weight), **options), ops)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_reflection_goes_back_and_forth_as_numpy_s_does(size: int) -> None:
    """A dimension of one element is that element again and again; ONNX Runtime does not reflect so far."""
    net = Net(0, (size, 4))
    model = net.model(net.op("Pad", "input", integers(net, 0, size, 0, 0, size + 1, 0), mode="reflect"))
    x = net.inputs(2)
    expected = np.pad(x, ((0, 0), (size, size + 1), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(build(model, "float").run(x)["logits"], expected)
