import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd.quantization.parts import Part, judged_apart, lost_channels, parts_of
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
