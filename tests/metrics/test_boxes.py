"""Average precision of boxes, against pycocotools run directly on random boxes."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import BadInputError, MissingExtraError
from edgekd.metrics import ap, ap50, coco_ap

SEEDS = st.integers(0, 2**32 - 1)
CLOSE = 1e-9  # pycocotools adds 2e-16 to what precision is divided by


def scenes(seed: int, images: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """True boxes, some rows unused, and boxes near them or anywhere, with tied scores and classes mixed up."""
    random = np.random.default_rng(seed)
    labels = np.full((images, 5, 5), -1.0)
    found = np.full((images, 12, 6), -1.0)
    for image in range(images):
        for row in range(random.integers(0, 6)):
            corner, size = random.uniform(0, 40, 2), random.uniform(4, 20, 2)
            labels[image, row] = *corner, *(corner + size), random.integers(0, classes)
        for row in range(random.integers(0, 13)):
            source = labels[image, random.integers(0, 5)]
            near = source[4] >= 0 and random.random() < 0.8
            corner = source[:2] if near else random.uniform(0, 40, 2)
            size = source[2:4] - source[:2] if near else random.uniform(4, 20, 2)
            corner, size = corner + random.normal(scale=1.5, size=2), size * random.uniform(0.8, 1.25, 2)
            number = source[4] if near and random.random() < 0.9 else random.integers(0, classes)
            found[image, row] = *corner, *(corner + size), np.round(random.random(), 1), number
    return found, labels


def directly(found: np.ndarray, labels: np.ndarray, ious: list[float] | None = None) -> float:
    """pycocotools as its demo uses it: `loadRes`, `evaluate`, `accumulate`, `summarize`; −1 is no truth at all."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def listed(rows):
        places = [(image, row) for image, sample in enumerate(rows) for row in sample if row[-1] >= 0]
        return [(image, [*row[:2], *(row[2:4] - row[:2])], row) for image, row in places]

    truths = [
        {"id": n, "image_id": image, "category_id": int(row[4]), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (image, box, row) in enumerate(listed(labels), 1)
    ]
    results = [
        {"image_id": image, "category_id": int(row[5]), "bbox": box, "score": row[4]}
        for image, box, row in listed(found)
    ]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": n} for n in range(len(labels))], "annotations": truths,
            "categories": [{"id": n} for n in range(3)], "info": {},
        }  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        if ious is not None:
            evaluation.params.iouThrs = np.array(ious)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return max(0.0, float(evaluation.stats[0]))


@settings(max_examples=25)
@given(SEEDS)
def test_each_is_what_pycocotools_says(seed: int) -> None:
    found, labels = scenes(seed)
    assert ap.metric()(found, labels) == pytest.approx(directly(found, labels), abs=CLOSE)
    assert coco_ap.metric()(found, labels) == pytest.approx(directly(found, labels), abs=1e-12)
    for iou in (0.5, 0.3):
        assert ap50.metric(iou)(found, labels) == pytest.approx(directly(found, labels, [iou]), abs=CLOSE)


@pytest.mark.parametrize("metric", [ap.metric(), ap50.metric(), coco_ap.metric()])
def test_rows_are_images(metric) -> None:
    """So that chunks do not matter, and a bootstrap draws images."""
    found, labels = scenes(7, images=9)
    rows = metric.rows(found, labels)
    assert len(rows) == 9
    drawn = [3, 3, 0, 8, 5]
    assert metric.score(rows[drawn]) == pytest.approx(metric(found[drawn], labels[drawn]), abs=1e-12)
    assert 0 < metric.standard_error(rows) < 0.5
    nothing = np.full((9, 2, 6), -1.0)
    assert metric(nothing, labels) == 0
    assert metric(found, np.full((9, 0, 5), -1.0)) == 0


def test_true_boxes_themselves_score_one() -> None:
    _, labels = scenes(1)
    found = np.insert(labels, 4, 0.5, axis=2)
    assert [kind.metric()(found, labels) for kind in (ap, ap50, coco_ap)] == [1.0, 1.0, pytest.approx(1)]


def test_names_are_those_of_the_iou() -> None:
    assert [metric.name for metric in (ap.metric(), ap50.metric(), ap50.metric(0.3))] == ["ap", "ap50", "ap30"]


def test_what_is_no_boxes_is_one_clear_line() -> None:
    with pytest.raises(BadInputError, match=r"metric 'ap50' cannot score outputs \(3, 4\), labels \(3, 1, 5\)"):
        ap50.metric()(np.zeros((3, 4)), np.zeros((3, 1, 5)))


def test_without_pycocotools_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.cocoeval", None)
    with pytest.raises(MissingExtraError, match=r"edgekd\[detection\]"):
        coco_ap.metric()
