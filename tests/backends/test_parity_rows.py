"""Which rows outputs become: by batch and output, by unlike parts, and none of them where int8 lost channels."""

from typing import Any

import numpy as np
import pytest

from edgekd.backends.parity_outputs import prove
from edgekd.bundle import Manifest, TensorSpec
from edgekd.quantization.parts import Part

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
WIDE, NARROW = slice(0, 3), slice(3, 5)
BOXES = np.concatenate([RANDOM.normal(0, 100, (200, 3)), RANDOM.normal(0, 0.5, (200, 2))], axis=1).astype(np.float32)
PARTS = (Part("box", (slice(None), WIDE), 1.0), Part("score", (slice(None), NARROW), 0.01))


def manifest(*outputs: TensorSpec, **tolerance: float) -> Manifest:
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 4)),)
    return Manifest(
        name="net", target="t", backend="tflite", scheme="int8-asymmetric", precision="int8", batch=1, threads=1,
        model="m", inputs=inputs, outputs=outputs, files={}, tolerance=tolerance,
    )  # fmt: skip


def spec(name: str, **more: Any) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(None, 5), **{"step": 1.0} | more)


def test_there_is_a_row_of_each_output_at_each_batch() -> None:
    outputs = {"a": BOXES, "b": BOXES * 2}
    rows = prove(
        manifest(spec("a"), spec("b", step=2.0), max_steps=2.0), [(1, outputs), (8, outputs | {"b": BOXES})], outputs
    )
    assert [(row.output, row.batch, row.step, row.ok) for row in rows] == [
        ("a", 1, 1.0, True), ("b", 1, 2.0, True), ("a", 8, 1.0, True), ("b", 8, 2.0, False),
    ]  # fmt: skip
    assert {row.drift for row in rows} == {None}


def test_the_float_model_says_how_far_quantising_went() -> None:
    rows = prove(manifest(spec("a")), [(1, {"a": BOXES + 2})], {"a": BOXES}, {"a": BOXES - 4})
    assert rows[0].drift == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("labels", [None, ("a", "b", "c", "d", "e")])
def test_classes_have_labels(labels: tuple[str, ...] | None) -> None:
    (row,) = prove(manifest(spec("a", labels=labels)), [(1, {"a": BOXES})], {"a": BOXES})
    assert row.agreement == (None if labels is None else 1.0)


def test_unlike_parts_have_rows_and_steps_of_their_own() -> None:
    """Half a unit is half a step of boxes, and fifty of scores; classes are not asked to agree of parts."""
    found, plain = BOXES + np.float32(0.5), BOXES + np.array([1, 1, 1, 0.02, 0.02], np.float32)
    rows = prove(
        manifest(spec("y"), max_steps=2.0, agreement=1.0), [(4, {"y": found})], {"y": BOXES}, {"y": plain},
        {"y": PARTS},
    )  # fmt: skip
    assert [(row.output, row.batch, row.step, row.ok) for row in rows] == [
        ("y[box]", 4, 1.0, True), ("y[score]", 4, 0.01, False),
    ]  # fmt: skip
    assert [row.max for row in rows] == pytest.approx([0.5, 50], rel=1e-3)
    assert [row.drift for row in rows] == pytest.approx([0.5, 25], rel=1e-3)
    assert rows[1].reason == "max is 50.00 steps, 2 allowed"
    bare = prove(manifest(spec("y")), [(4, {"y": found})], {"y": BOXES}, None, {"y": PARTS})
    assert [row.drift for row in bare] == [None, None]


def test_parts_are_those_of_the_output_that_was_made() -> None:
    """Another shape is one row that says so; parts of like size are judged as one."""
    (row,) = prove(manifest(spec("y")), [(1, {"y": BOXES[:, :4]})], {"y": BOXES}, None, {"y": PARTS})
    assert (row.output, row.ok, row.reason) == ("y", False, "shape (200, 4) instead of (200, 5)")
    like = RANDOM.normal(0, 50, (200, 5)).astype(np.float32)
    assert [
        each.output for each in prove(manifest(spec("y")), [(1, {"y": like})], {"y": like}, None, {"y": PARTS})
    ] == ["y"]


def test_channels_that_int8_lost_prove_nothing() -> None:
    moving = RANDOM.normal(0, 30, (50, 4, 6)).astype(np.float32)
    lost = moving.copy()
    lost[:, 1:] = 0
    (row,) = prove(manifest(spec("y"), max_steps=2.0), [(1, {"y": lost})], {"y": lost}, {"y": moving})
    assert (row.ok, row.drifts, row.counts) == (False, False, False)
    assert row.reason == "inconclusive: channels 1–3 are constant in int8"
    (whole,) = prove(manifest(spec("y"), max_steps=2.0), [(1, {"y": lost})], {"y": lost})
    assert whole.ok
