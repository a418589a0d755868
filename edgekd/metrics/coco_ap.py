"""AP as pycocotools itself computes it, for whoever has to quote that; needs `edgekd[detection]`."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from edgekd.errors import MissingExtraError
from edgekd.metrics._base import Array, Metric
from edgekd.metrics._boxes import TAKES, UNUSED


def metric() -> Metric:
    """Return it, of boxes (N, K, 6) and labels (N, M, 5) as `ap` takes them; of a class, an image's 100 surest count.

    Raises MissingExtraError without pycocotools.
    """
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("detection") from error
    return Metric("coco_ap", _judged, _mean, takes=TAKES)


def _judged(boxes: Array, labels: Array) -> Array:
    """What COCOeval finds in each image, by class: (n,) dictionaries."""
    evaluation = _evaluation(_annotations(labels), _annotations(boxes), len(labels))
    with redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    rows = np.empty(len(labels), object)
    rows[:] = [{} for _ in labels]
    for found in filter(None, evaluation.evalImgs):
        rows[found["image_id"]][found["category_id"]] = found
    return rows


def _mean(rows: Array) -> float:
    """Precision over classes, IoUs and recalls; 0 where no image has a truth."""
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType="bbox")
    _configure(evaluation, sorted({number for row in rows for number in row}), len(rows))
    evaluation.evalImgs = [row.get(number) for number in evaluation.params.catIds for row in rows]
    evaluation._paramsEval = evaluation.params
    with redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return float(precision[precision >= 0].mean()) if (precision >= 0).any() else 0.0


def _evaluation(truths: list[dict[str, Any]], found: list[dict[str, Any]], images: int) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted({box["category_id"] for box in (*truths, *found)})
    sides = []
    for boxes in (truths, found):
        side = COCO()
        side.dataset = {
            "images": [{"id": number} for number in range(images)],
            "categories": [{"id": number} for number in classes],
            "annotations": boxes,
        }
        with redirect_stdout(io.StringIO()):
            side.createIndex()
        sides.append(side)
    evaluation = COCOeval(*sides, iouType="bbox")
    _configure(evaluation, classes, images)
    return evaluation


def _configure(evaluation: Any, classes: Sequence[int], images: int) -> None:
    """Boxes of any size, the surest 100 of a class."""
    evaluation.params.catIds, evaluation.params.imgIds = list(classes), list(range(images))
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [100]


def _annotations(boxes: Array) -> list[dict[str, Any]]:
    """Boxes (n, K, 5 or 6) as COCO writes them; ids start at 1, for 0 is no match there."""
    rows, places = np.nonzero(boxes[..., -1] != UNUSED)
    used = boxes[rows, places].astype(np.float64)
    sizes = used[:, 2:4] - used[:, :2]
    return [
        {
            "id": number, "image_id": int(row), "category_id": int(box[-1]), "iscrowd": 0,
            "bbox": [*box[:2], *size], "area": size.prod(), "score": box[4],
        }
        for number, (row, box, size) in enumerate(zip(rows, used, sizes, strict=True), 1)
    ]  # fmt: skip
