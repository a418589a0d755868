"""What edges show over batches: ranges by method, means over samples, one pass for what is asked at once."""

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.quantization.calibrate import Calibration, Calibrator, parameters
from edgekd.quantization.observation import Observation
from edgekd.quantization.placement import Placement
from edgekd.quantization.ranges import Affine, affine
from edgekd.quantization.scheme import SCHEMES, find_scheme, schemes_of
from edgekd.target import load_target
from tests.quantization.onnx_models import model, random

ASYMMETRIC = SCHEMES["int8-asymmetric"]
NET = model(
    [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Relu", ["n"], ["y"])], {}, ("N", 2), output_rank=2
)
BATCHES = [np.array([[1.0, -2.0], [3.0, 0.5]], np.float32), np.array([[-1.0, 4.0]], np.float32)]


def watched(method: str = "minmax") -> Observation:
    return Observation(NET, ({"x": batch} for batch in BATCHES), method)


def test_ranges_and_means_are_over_all_samples_alike() -> None:
    seen = watched()
    seen.look(["x", "n", "y"], {"x": 1, "y": 1})
    assert seen.ranges(["x", "n", "y"], ASYMMETRIC) == {"x": (-2.0, 4.0), "n": (-4.0, 2.0), "y": (0.0, 2.0)}
    means = seen.taken_means(["x", "y"])
    assert means["x"].tolist() == [[1.0, pytest.approx(2.5 / 3)]]
    assert means["y"].tolist() == [[pytest.approx(1 / 3), pytest.approx(2 / 3)]]
    assert means["x"].dtype == np.float32


def test_what_was_watched_is_not_counted_twice() -> None:
    seen = watched("ema")
    for _ in range(2):
        seen.look(["x"], {"x": 1})
    seen.look(["n"])
    assert seen.taken_means(["x"])["x"].tolist() == [[1.0, pytest.approx(2.5 / 3)]]
    assert seen.ranges(["x", "n"], ASYMMETRIC)["x"] == pytest.approx((-2.5 / 3, 8 / 3))


def test_batches_may_be_larger_than_a_pass() -> None:
    many = random(150, 2)
    seen = Observation(NET, [{"x": many}], "minmax")
    seen.look(["x"], {"x": 1})
    assert seen.ranges(["x"], ASYMMETRIC)["x"] == (many.min(), many.max())
    np.testing.assert_allclose(seen.taken_means(["x"])["x"][0], many.mean(0, dtype=np.float64), rtol=1e-5)


def test_a_mean_is_over_as_many_leading_dimensions_as_are_asked() -> None:
    values = random(5, 3, 4)
    net = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", 3, 4), output_rank=3)
    for leading, axes in ((1, 0), (2, (0, 1)), (-1, (0, 1))):
        seen = Observation(net, [{"x": values[:2]}, {"x": values[2:]}], "minmax")
        seen.look([], {"x": leading})
        np.testing.assert_allclose(seen.taken_means(["x"])["x"], values.mean(axes, keepdims=True), rtol=1e-5)


def test_no_samples_matter_only_where_something_is_asked() -> None:
    empty = Observation(NET, [], "minmax")
    empty.look([])
    with pytest.raises(BadInputError, match="at least one batch"):
        empty.look(["x"])
    with pytest.raises(BadInputError, match="at least one batch"):
        empty.look([], {"x": 1})


def test_a_group_covers_the_ranges_of_its_edges_and_fixed_ones_are_as_given() -> None:
    fixed = Affine(1 / 256, 0)
    placement = Placement({"a": 0, "b": 0, "c": 0, "d": 1, "e": 2}, {"d": fixed}, ("a", "b", "e"), (), frozenset())
    found = parameters(placement, {"a": (-1.0, 2.0), "b": (-0.5, 3.0), "e": (0.0, 1.0)}, ASYMMETRIC)
    joint = affine(-1.0, 3.0, ASYMMETRIC)
    assert found == {"a": joint, "b": joint, "c": joint, "d": fixed, "e": affine(0.0, 1.0, ASYMMETRIC)}


class Once:
    """Batches that can be read a single time."""

    def __init__(self) -> None:
        self.reads = 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        self.reads += 1
        return iter([{"x": random(4, 3, 6, 6)}])


@pytest.mark.parametrize("correct", [True, False])
def test_samples_are_read_once_whatever_is_asked_of_them(correct: bool) -> None:
    net = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": random(2, 3, 1, 1)})
    batches = Once()
    calibrator = Calibrator(net, batches, Calibration("minmax", correct_bias=correct))
    for scheme in SCHEMES.values():
        assert calibrator.quantized(scheme) == calibrator.quantized(scheme)
        assert calibrator.quantized(scheme, ["y"]) != calibrator.quantized(scheme)
    assert batches.reads == 1


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(BadInputError, match="unknown scheme 'int8-asymetric'; did you mean 'int8-asymmetric'"):
        find_scheme("int8-asymetric")
    with pytest.raises(BadInputError, match="unknown ranges 'minmaxx'; did you mean 'minmax'"):
        Calibration("minmaxx")


def test_a_scheme_of_several_targets_is_one_without_a_tail_where_one_has_integer_outputs() -> None:
    float_outputs, integer_outputs = (
        load_target("x86-tflite"),
        load_target("x86-tflite").model_copy(update={"io": "int8"}),
    )
    for targets, tail in (
        ([float_outputs], True),
        ([float_outputs, integer_outputs], False),
        ([integer_outputs, float_outputs], False),
    ):
        (scheme,) = schemes_of(targets)
        assert (scheme.name, scheme.float_tail) == (float_outputs.scheme, tail)
    assert [scheme.name for scheme in schemes_of([load_target("x86-tflite"), load_target("jetson-orin-nano")])] == [
        "int8-asymmetric",
        "int8-symmetric",
    ]
