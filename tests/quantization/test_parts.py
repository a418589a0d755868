import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.parts import Part, judged_apart, lost_channels, parts_of
from edgekd.quantization.sensitivity import distances
from tests.quantization.onnx_models import model, random

node = helper.make_node


def joined() -> onnx.ModelProto:
    """Three tensors of a convolution, joined twice along other axes."""
    nodes = [node("Conv", ["x", "v"], ["a"]), node("Sigmoid", ["a"], ["s"]), node("Exp", ["a"], ["e"])]
    nodes += [node("Concat", ["s", "e"], ["inner"], axis=1), node("Concat", ["inner", "inner"], ["y"], axis=2)]
    return model(nodes, {"v": random(2, 3, 1, 1)})


def test_parts_are_what_concats_join_however_deep() -> None:
    every = slice(None)
    assert parts_of(joined())["y"] == tuple(
        Part(name, (every, channels, rows, every))
        for rows in (slice(0, 6), slice(6, 12))
        for name, channels in (("s", slice(0, 2)), ("e", slice(2, 4)))
    )
    assert parts_of(model([node("Conv", ["x", "v"], ["y"])], {"v": random(2, 3, 1, 1)})) == {}


def test_classes_of_pixels_are_one_part_and_count_by_how_many_differ() -> None:
    nodes = [node("Conv", ["x", "v"], ["a"]), node("ArgMax", ["a"], ["i"], axis=1), node("Cast", ["i"], ["y"], to=6)]
    net = model(nodes, {"v": random(2, 3, 1, 1)})
    net.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    parts = parts_of(net)
    assert parts == {"y": (Part("y", (slice(None),)),)}
    exact, rounded = np.arange(100) % 7, np.arange(100) % 7
    rounded[:10] += 1  # 20 dB: an error of a tenth
    assert distances({"y": exact}, {"y": rounded}, parts) == {"y": pytest.approx(20)}
    assert distances({"y": exact}, {"y": rounded}, {}) == {}


@pytest.mark.parametrize(("wide", "count"), [(3.0, 0), (500.0, 2)])
def test_only_unlike_parts_are_judged_apart(wide: float, count: int) -> None:
    parts = (Part("box", (slice(None), slice(0, 1))), Part("score", (slice(None), slice(1, 2))))
    assert len(judged_apart(parts, np.array([[wide, 1.0], [0.0, -1.0]]))) == count


def test_channels_that_int8_holds_constant_are_named() -> None:
    exact = np.random.default_rng(0).uniform(0, 1, (8, 6, 5))
    exact[:, 0] *= 500
    rounded = np.rint(exact / 2) * 2
    assert lost_channels(rounded, exact) == "channels 1–5 are constant in int8"
    assert lost_channels(exact, exact) is None
    rounded[:, 1:5] = exact[:, 1:5]
    assert lost_channels(rounded, exact) is None  # one of six may be all but dead


def test_a_constant_output_has_no_lost_channels() -> None:
    assert lost_channels(np.ones((4, 3, 2)), np.ones((4, 3, 2))) is None


def test_channels_that_are_always_zero_are_not_lost() -> None:
    exact = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4))
    exact[:, 2:] = 0
    assert lost_channels(exact, exact) is None


def test_ranges_of_channels_are_spelled_out_and_most_have_to_be_lost() -> None:
    exact = np.random.default_rng(0).uniform(-1, 1, (2, 9, 4))
    rounded = exact.copy()
    rounded[:, [0, 2, 3, 7, 8]] = 0.5
    assert lost_channels(rounded, exact) == "channels 0, 2–3, 7–8 are constant in int8"
    rounded[:, 0] = exact[:, 0]
    assert lost_channels(rounded, exact) is None  # four of nine


def test_half_of_the_channels_that_move_are_most() -> None:
    exact = np.random.default_rng(0).uniform(-1, 1, (2, 8, 4))
    exact[:, 4:] = 100 + 0.05 * exact[:, 4:]  # moves by less than a thousandth of its largest value
    rounded = exact.copy()
    rounded[:, 2:] = 0.5
    assert lost_channels(rounded, exact) == "channels 2–3 are constant in int8"
    exact[:, 4:] = 100 + 2 * (exact[:, 4:] - 100)
    assert lost_channels(rounded, exact) == "channels 2–7 are constant in int8"


@pytest.mark.parametrize("shape", [(4, 3), (1, 3, 2)])
def test_channels_are_those_of_maps_of_several_samples(shape: tuple[int, ...]) -> None:
    assert lost_channels(np.zeros(shape), random(*shape)) is None
    assert lost_channels(np.zeros((2, 3, 2)), random(2, 3, 2)) == "channels 0–2 are constant in int8"
    assert lost_channels(np.zeros((2, 1, 2)), random(2, 1, 2)) == "channels 0 are constant in int8"
    assert lost_channels(np.zeros((2, 3, 3)), random(2, 3, 2)) is None


HALVES = (Part("a", (slice(None), slice(0, 1))), Part("b", (slice(None), slice(1, 2))))


@pytest.mark.parametrize(
    ("output", "apart"),
    [
        ([[4.0, -1.0], [0.0, 0.5]], False),
        ([[-4.1, 1.0], [0.0, 0.5]], True),
        ([[1.0, 4.1], [0.0, 0.5]], True),
        ([[9.0, 0.0], [1.0, 0.0]], False),  # a part of zeros says nothing
        ([[0.0, 0.0], [0.0, 0.0]], False),
    ],
)
def test_parts_are_unlike_from_four_times_on(output: list[list[float]], apart: bool) -> None:
    assert judged_apart(HALVES, np.array(output)) == (HALVES if apart else ())
    assert judged_apart(HALVES, np.array(output).astype(int)) == ()
    assert judged_apart((), np.array(output)) == ()


def test_parts_are_found_behind_quantisers_and_have_their_steps() -> None:
    every, operands = slice(None), {"s": np.float32(0.5), "t": np.float32(0.25), "z": np.uint8(3)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]), node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("Identity", ["xd"], ["i"]), node("Relu", ["x"], ["r"]), node("Concat", ["i", "r"], ["c"], axis=-1),
        node("QuantizeLinear", ["c", "t", "z"], ["cq"]), node("DequantizeLinear", ["cq", "t", "z"], ["y"]),
    ]  # fmt: skip
    values = {name: np.asarray(value) for name, value in operands.items()}
    assert parts_of(model(nodes, values))["y"] == (
        Part("x", (every, every, every, slice(0, 6)), 0.25),
        Part("r", (every, every, every, slice(6, 12)), 0.25),
    )
    unquantized = model([*nodes[:4], node("Concat", ["xd", "r"], ["y"], axis=1)], {"s": values["s"], "z": values["z"]})
    assert [part.step for part in parts_of(unquantized)["y"]] == [0.5, None]


@pytest.mark.parametrize("count", [2, 64, 65])
def test_more_than_64_parts_are_none(count: int) -> None:
    net = model([node("Concat", ["x"] * count, ["y"], axis=1)], {}, ("N", 1), output_rank=2)
    parts = parts_of(net).get("y", ())
    assert [part.where[1] for part in parts] == [slice(i, i + 1) for i in range(count if count <= 64 else 0)]


def test_what_joins_samples_or_an_unknown_size_is_whole_and_a_join_of_the_same_axis_is_one_part() -> None:
    assert parts_of(model([node("Concat", ["x", "x"], ["y"], axis=0)], {})) == {}
    assert parts_of(model([node("Concat", ["x", "x"], ["y"], axis=1)], {}, ("N", "C"), output_rank=2)) == {}
    inner, outer = node("Concat", ["x", "x"], ["c"], axis=1), node("Concat", ["c", "x"], ["y"], axis=1)
    names = [(part.name, part.where[1]) for part in parts_of(model([inner, outer], {}))["y"]]
    assert names == [("c", slice(0, 6)), ("x", slice(6, 9))]
    unknown = model([node("Reshape", ["x", "target"], ["r"]), node("Concat", ["r", "x"], ["y"], axis=1)], {})
    unknown.graph.input.append(helper.make_tensor_value_info("target", onnx.TensorProto.INT64, ["rank"]))
    assert parts_of(unknown) == {}
