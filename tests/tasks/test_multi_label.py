"""Several labels a sample are taught and scored."""

from typing import Any

import numpy as np
import pytest

import edgekd
from edgekd.data import as_dataset
from edgekd.errors import BadInputError
from edgekd.tasks.multi_label import MultiLabel
from edgekd.training import evaluate
from tests.tasks.nets import QUICK, Array, squares, vector_net

TASK = MultiLabel()


def labelled(count: int, seed: int) -> tuple[Array, Array]:
    """Is the rectangle at the left, at the top, wide?"""
    images, boxes = squares(count, seed)
    return images, np.stack([boxes[:, 0] < 4, boxes[:, 1] < 4, boxes[:, 2] > 4], axis=1)


def data() -> Any:
    return labelled(320, 0), labelled(96, 1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(60), "y_train must hold a matrix (N, labels) of 0 and 1, not int64 (60,)"),
        (np.arange(120).reshape(60, 2) % 3, "y_train holds [2 0] in sample 1; each label is 0 or 1"),
        (np.full((60, 2), np.nan), "y_train holds [nan nan] in sample 0"),
        (np.array([["a", "b"]] * 60), "y_train must hold a matrix"),
    ],
)
def test_wrong_labels_are_one_clear_line(labels: Array, words: str) -> None:
    x = np.zeros((60, 4), np.float32)
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, labels), (x, labels)), task="multi-label")
    assert words in str(caught.value)


def test_several_labels_are_taught_by_a_teacher() -> None:
    teacher = edgekd.train(vector_net(12, 3), data(), task="multi-label", training=QUICK)
    student = edgekd.distill(teacher, vector_net(6, 3, seed=1), data(), task=TASK, training=QUICK)
    dataset = as_dataset(data(), task=TASK)
    assert dataset.classes == ("0", "1", "2")
    assert evaluate(student, dataset, dataset.test) > TASK.chance(dataset.test.labels)[0] + 0.15
    found = edgekd.compare(teacher, student, data(), task=TASK).run
    assert found["metric_name"] == "macro_f1"
    assert 0.5 < found["distillation"]["agreement"] <= 1
