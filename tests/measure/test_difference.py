"""Device − host over arrays whose difference is known by construction."""

from typing import Any

import numpy as np
import pytest

from edgekd.bundle import TensorSpec
from edgekd.measure.difference import OutputDifference, compare_outputs, from_host, from_reference
from edgekd.metrics import Scale

Array = np.ndarray[Any, Any]
SHARE = Scale("accuracy")
STEP = 0.25  # a power of two: whole steps are exact in float32


def spec(step: float | None = STEP) -> TensorSpec:
    return TensorSpec(name="logits", dtype="float32", shape=(None, 3), step=step)


def compare(device: Array, host: Array, step: float | None = STEP, classifies: bool = True) -> OutputDifference:
    return compare_outputs({"logits": device}, {"logits": host}, [spec(step)], "logits" if classifies else "other")[0]


def host(samples: int = 1000) -> Array:
    """Class 0 leads by 8 steps everywhere."""
    return np.tile(np.array([8, 0, -8], np.float32) * STEP, (samples, 1))


def test_steps_share_and_argmaxes_are_counted() -> None:
    """Of 3000 values, 6 are 1 step off and 2 are 12: another class wins in 2 samples. p99.9 is the 4th largest."""
    there = host()
    there[:6, 2] += STEP
    there[10:12, 1] += 12 * STEP
    found = compare(there, host())
    assert (found.n, found.step, found.max_steps, found.p999_steps, found.argmax_changes) == (1000, STEP, 12, 1, 2)
    assert found.differing == pytest.approx(8 / 3000, abs=1e-12)
    assert found.reason is None


def test_less_than_half_a_step_is_the_same_value() -> None:
    found = compare(host() + np.float32(0.4 * STEP), host())
    assert (found.differing, found.argmax_changes) == (0, 0)
    assert found.max_steps == pytest.approx(0.4, abs=1e-6)  # float32 holds a logit to 1e-7 of it


def test_embeddings_classify_nothing() -> None:
    assert compare(-host(), host(), classifies=False).argmax_changes is None


def test_only_the_output_that_is_classified_has_changed_classes() -> None:
    answers = {"logits": -host(), "boxes": -host()}
    specs = [spec(), spec().model_copy(update={"name": "boxes"})]
    found = compare_outputs(answers, {"logits": host(), "boxes": host()}, specs, "logits")
    assert [row.argmax_changes for row in found] == [1000, None]


def test_integer_outputs_differ_by_whole_numbers() -> None:
    found = compare(np.array([[3], [5], [255]], np.uint8), np.array([[3], [6], [0]], np.uint8), step=None)
    assert (found.step, found.max_steps, found.differing) == (1, 255, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("there", "here", "why"),
    [
        (host(999), host(), "shape (999, 3) instead of (1000, 3)"),
        (np.full_like(host(), np.nan), host(), "the device's answers are not finite"),
        (host(), np.full_like(host(), np.inf), "the host's answers are not finite"),
    ],
)
def test_what_cannot_be_compared_says_why(there: Array, here: Array, why: str) -> None:
    found = compare(there, here)
    assert (found.reason, found.max_steps, found.differing, found.argmax_changes) == (why, None, None, None)


def test_points_are_hundredths_of_the_metric() -> None:
    found = from_host(0.905, 0.92, [], SHARE)
    assert (found.against, found.metric, found.reason) == ("host", 0.92, None)
    assert found.points == pytest.approx(-1.5)  # of a fraction, in float64


def test_without_a_host_the_reference_stands_in_or_nothing_does() -> None:
    known = from_reference(0.93, 0.92, "no runtime", SHARE)
    assert (known.against, known.points, known.reason) == ("reference", pytest.approx(1.0), "no runtime")
    unknown = from_reference(0.93, None, "no runtime", SHARE)
    assert (unknown.against, unknown.metric, unknown.points) == (None, None, None)
    assert unknown.reason == "no runtime; the manifest knows no metric of the reference"
