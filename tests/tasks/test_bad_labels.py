"""Labels that do not fit their task: which sample, and what was expected, before anything is taught."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgekd.data import as_dataset
from edgekd.errors import BadInputError
from edgekd.tasks import find_task

COUNT = 40
Array = np.ndarray[Any, Any]
IMAGES, TOKENS = (
    np.tile(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (COUNT, 1, 1, 1)),
    np.ones((COUNT, 6), int),
)
RANDOM = np.random.default_rng(0)
GOOD: Mapping[str, Array] = {
    "classification": np.arange(COUNT) % 3,
    "multi-label": RANDOM.integers(0, 2, (COUNT, 3)),
    "regression": RANDOM.random((COUNT, 2)),
    "keypoints": RANDOM.random((COUNT, 4, 3)) + 1,
    "segmentation": RANDOM.integers(0, 3, (COUNT, 16, 16)),
    "detection": np.tile([[2.0, 2, 9, 9, 0], [1, 1, 5, 5, 1]], (COUNT, 1, 1)),
    "sentence-pairs": np.repeat(RANDOM.random(COUNT // 2), 2),
    "embedding": np.arange(COUNT) % 2,
}


def changed(task: str, value: Any, sample: int = 7) -> Array:
    labels = GOOD[task].copy()
    labels.reshape(COUNT, -1)[sample, 0] = value
    return labels


def said(task: str, train: Array, test: Array | None = None, **options: Any) -> str:
    x = TOKENS if task == "sentence-pairs" else IMAGES
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, train), (x, train if test is None else test)), task=find_task(task, options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("classification", changed("classification", -3), "holds -3 in sample 7; class indices start at 0"),
        ("classification", changed("classification", 2**40), "holds 1099511627776 in sample 7; class indices"),
        ("classification", changed("classification", 10**6), "class 1000000 in sample 7 of 40, more classes than"),
        ("segmentation", changed("segmentation", 2**40), "holds 1099511627776 in sample 7; class indices start at 0"),
        ("segmentation", changed("segmentation", 2**30), "no pixel of y_train has class 3, but some have 1073741824"),
        ("detection", np.where(np.arange(5) == 4, 1e8, GOOD["detection"]), "no box of y_train has class 0, but some"),
        ("sentence-pairs", changed("sentence-pairs", 0.5), "and 0.5 from sample 6 on; rows 2i and 2i+1 must both"),
        ("sentence-pairs", np.where(np.arange(COUNT) // 2 == 4, np.inf, GOOD["sentence-pairs"]), "finite in sample 8"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_sample(task: str, labels: Array, words: str) -> None:
    assert words in said(task, labels)


@pytest.mark.parametrize(("task", "cut"), [("keypoints", np.s_[:, :3]), ("segmentation", np.s_[:, ::2, ::2])])
def test_splits_whose_labels_differ_in_shape_are_refused_before_training(task: str, cut: Any) -> None:
    assert "labels differ in shape: train (" in said(task, GOOD[task], GOOD[task][cut])


def test_the_number_of_boxes_may_differ_between_splits() -> None:
    boxes = GOOD["detection"]
    assert as_dataset(((IMAGES, boxes), (IMAGES, boxes[:, :1])), task="detection").test.labels.shape == (COUNT, 1, 5)


@pytest.mark.parametrize(
    ("task", "test", "words"),
    [
        ("segmentation", np.full((COUNT, 16, 16), 255), "every pixel is 255, which is ignored"),
        ("detection", np.full((COUNT, 2, 5), -1.0), "there is no box to be found"),
        ("keypoints", GOOD["keypoints"] * [1, 1, 0], "no point is visible"),
        ("multi-label", np.zeros((COUNT, 3)), "no sample has any label"),
        ("sentence-pairs", np.ones(COUNT), "all pairs have one score"),
        ("embedding", np.zeros(COUNT, int), "all samples have one label"),
        ("embedding", np.arange(COUNT), "no two samples share a label"),
    ],
)
def test_labels_that_score_all_outputs_alike_are_refused(task: str, test: Array, words: str) -> None:
    assert f"y_test scores nothing: {words}" in said(task, GOOD[task], test)


def test_a_search_that_finds_everything_is_refused() -> None:
    assert "of 4 samples any has all others among its k = 5" in said("embedding", GOOD["embedding"], k=5)


def test_scores_that_no_cosine_reaches_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    scores = 5 * GOOD["sentence-pairs"]
    as_dataset(((TOKENS, scores), (TOKENS, scores)), task="sentence-pairs")
    assert "but a cosine is within -1 and 1: divide them" in capsys.readouterr().err
