"""A few test images with what they show drawn in: the truth, and what teacher, student and int8 make of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.data.dataset import Dataset, Split
from edgekd.files import sha256, write_bytes
from edgekd.outputs import each
from edgekd.pipeline.calibrated import answers_of
from edgekd.pipeline.documents import PictureRecord
from edgekd.pipeline.learn import Learned, StageContext
from edgekd.pipeline.variants import FLOAT
from edgekd.reporting.pictures import FOLDER, path_of
from edgekd.training import predict
from edgekd.training.weights import weights_digest

Array = NDArray[Any]
FEW, LOOKED_AT = 4, 256  # pictures, and the first test samples that they are chosen among


def draw(context: StageContext, teacher: Learned, student: Learned, graphs: Mapping[str, Path]) -> list[PictureRecord]:
    """Write pictures, from the sample that int8 answers worst to that it answers best, and return which they are.

    `graphs` has the file of each scheme; the first one's is drawn. A task without `draw` has no pictures.
    """
    schemes = [path for name, path in graphs.items() if name != FLOAT]
    data = context.data
    if not schemes or _picture(data, data.test.take(np.arange(1)).inputs[0], data.test.labels[0]) is None:
        return []
    inputs = {"teacher": weights_digest(teacher.model), "student": weights_digest(student.model)}
    inputs |= {"graph": sha256(schemes[0]), **context.identity}

    def work(_: str) -> list[PictureRecord]:
        return _draw(context, teacher, student, schemes[0])

    code = __name__, *context.all_code
    found: list[PictureRecord] = context.stages.run("pictures", inputs, work, (FOLDER,), code=code)
    return found


def _draw(context: StageContext, teacher: Learned, student: Learned, graph: Path) -> list[PictureRecord]:
    data, model = context.data, onnx.load(graph)
    some = data.test.take(np.arange(min(LOOKED_AT, len(data.test))))
    rows = data.metric.rows(answers_of(model, data, some), some.labels)
    worth = np.array([data.metric.score(rows[place : place + 1]) for place in range(len(some))])
    order = np.argsort(worth if data.metric.better == "higher" else -worth, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, FEW).astype(int))]
    few = some.take(chosen)
    said = {"truth": few.labels, "int8": data.task.decide(answers_of(model, data, few))}
    said |= {who: _decided(data, network, few) for who, network in (("teacher", teacher), ("student", student))}
    for place, raw in enumerate(np.asarray(few.inputs)):
        for who, labels in said.items():
            write_bytes(context.folder / path_of(place, who), _png(_picture(data, raw, labels[place])))
    return [{"sample": int(sample), "metric": float(worth[sample])} for sample in chosen]


def _decided(data: Dataset, network: Learned, few: Split) -> Array:
    return data.task.decide(each(predict(network.model, data, few), np.asarray))


def _picture(data: Dataset, raw: Array, labels: Array) -> Array | None:
    """The labels drawn into a sample, where that is an image (C, H, W)."""
    if raw.ndim != 3 or len(raw) not in (1, 3) or raw.dtype.kind not in "uf":
        return None
    values = raw.astype(np.float64)
    if raw.dtype != np.uint8:
        values = 255 * (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    colour = np.broadcast_to(np.rint(values).astype(np.uint8), (3, *raw.shape[1:])).transpose(1, 2, 0)
    return data.task.draw(np.ascontiguousarray(colour), labels)


def _png(picture: Array | None) -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.fromarray(np.asarray(picture, np.uint8)).save(stream, "PNG", optimize=True)
    return stream.getvalue()
