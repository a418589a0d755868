"""What a metric is not of is refused with what it takes; where shapes broadcast, a number came of it."""

from typing import Any

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.metrics import accuracy, find_metric, macro_f1
from edgekd.metrics._takes import Takes

COUNT = 1000  # more than are counted at once
LOGITS, CLASSES = np.eye(3)[np.arange(COUNT) % 3], np.arange(COUNT) % 3
MAPS, MAP = np.zeros((COUNT, 3, 2, 2)), np.zeros((COUNT, 2, 2), int)


def changed(labels: Any, value: float) -> Any:
    found = labels.astype(type(value))
    found.reshape(COUNT, -1)[907, 0] = value
    return found


@pytest.mark.parametrize(
    ("metric", "outputs", "labels", "words"),
    [
        ("accuracy", LOGITS, CLASSES[:, None], "it takes outputs (N, C) and labels (N)"),
        ("accuracy", LOGITS, CLASSES[:-1], "it takes outputs (N, C) and labels (N)"),
        ("accuracy", LOGITS[:, :1], CLASSES, "it takes outputs (N, C) and labels (N)"),
        ("accuracy", LOGITS, changed(CLASSES, 3), "label 3 in sample 907 is no class of 0 to 2"),
        ("accuracy", LOGITS, changed(CLASSES, -1), "label -1 in sample 907 is no class of 0 to 2"),
        ("accuracy", LOGITS, changed(CLASSES, 0.5), "label 0.5 in sample 907 is no class of 0 to 2"),
        ("accuracy", LOGITS, CLASSES.astype(str), "labels are <U21, not numbers"),
        ("calibration-error", LOGITS[:, :1], CLASSES, "it takes outputs (N, C) and labels (N)"),
        ("pixel-accuracy", MAPS, MAP[:, :1, :1], "it takes outputs (N, C, …) and labels (N, …)"),  # 2,000 % once
        ("pixel-accuracy", LOGITS, CLASSES[:, None], "it takes outputs (N, C, …) and labels (N, …)"),
        ("miou", MAPS, changed(MAP, 9), "label 9 in sample 907 is no class of 0 to 2"),
        ("macro-f1", LOGITS, changed(LOGITS, 0.5), "label 0.5 in sample 907 is no flag (0 or 1)"),
        ("mean-ap", LOGITS, np.zeros((COUNT, 2)), "it takes outputs (N, L) and labels (N, L)"),
        ("recall-at-k", MAPS, CLASSES, "it takes outputs (N, D) and labels (N)"),
        ("spearman", LOGITS, LOGITS, "it takes outputs (N, D) and labels (N)"),
        ("spearman", LOGITS, CLASSES, "rows 2i and 2i+1 must both carry the score of their pair"),
        ("rmse", LOGITS, CLASSES, "outputs hold 3 numbers a sample, labels 1"),
        ("pck", LOGITS, CLASSES, "points are (N, K, 2) or (N, 2K), with labels (N, K, 2) or (N, K, 3)"),
        ("ap", np.zeros((COUNT, 9, 5)), np.zeros((COUNT, 2, 5)), "it takes outputs (N, K, 6) and labels (N, M, 5)"),
        ("ap50", np.zeros((COUNT, 9, 6)), MAP, "it takes outputs (N, K, 6) and labels (N, M, 5)"),
    ],
)
def test_what_a_metric_is_not_of_is_refused_with_what_it_takes(
    metric: str, outputs: Any, labels: Any, words: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        find_metric(metric)(outputs, labels)
    assert str(caught.value).startswith(f"metric {find_metric(metric).name!r} cannot score outputs (1000, ")
    assert words in str(caught.value)


def test_what_is_ignored_is_no_class_and_no_fault() -> None:
    assert find_metric("miou")(MAPS, np.where(np.arange(2) == 0, 255, MAP)) == 1.0
    assert find_metric("accuracy")(LOGITS, CLASSES.astype(np.float32)) == 1.0  # whole numbers are as good


def test_columns_of_an_output_are_held_to_what_the_metric_takes() -> None:
    labels = np.column_stack([CLASSES, LOGITS]).astype(np.float32)
    outputs = {"kind": LOGITS, "flags": LOGITS - 0.5}
    assert accuracy.metric().of("kind", 0)(outputs, labels) == 1.0
    assert macro_f1.metric().of("flags", slice(1, 4))(outputs, labels) == 1.0
    for wrong in (macro_f1.metric().of("flags", slice(0, 3)), accuracy.metric().of("kind", slice(0, 1))):
        with pytest.raises(BadInputError, match="cannot score outputs"):
            wrong(outputs, labels)


def test_axes_of_one_name_have_one_size() -> None:
    takes = Takes("N, C, …", "N, …")
    assert takes.fault(np.zeros((4, 2, 5, 6)), np.zeros((4, 5, 6))) is None
    for outputs, labels in (((4, 2, 5), (4, 6)), ((4, 1), (4,)), ((4, 2), (3,)), ((4,), (4,))):
        assert takes.fault(np.zeros(outputs), np.zeros(labels)) is not None


def test_points_without_a_third_number_are_all_visible() -> None:
    points = np.random.default_rng(0).random((6, 3, 2))
    for name in ("pck", "oks"):
        assert find_metric(name)(points, points) == pytest.approx(1.0)
        moved = points + np.array([9.0, 0.0]) * (np.arange(3) == 1)[:, None]
        assert find_metric(name)(moved, points) == pytest.approx(2 / 3)
