"""Images with boxes drawn around what they show, whatever the format that says so: files and boxes in, arrays out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from edgekd.data._pictures import Pictures, common_shape, size_of
from edgekd.data.dataset import Array
from edgekd.data.raw import Raw, from_arrays
from edgekd.data.sources import Rows
from edgekd.errors import BadInputError
from edgekd.names import FileName
from edgekd.plugins import nearest
from edgekd.recipe import Data
from edgekd.schema import Schema
from edgekd.tasks.detection import Detection, padded

MOST = 10_000  # boxes of one image
SLACK = 2  # pixels that a box may reach beyond its image without a word, as many are rounded
Box = tuple[float, float, float, float]  # x1, y1, x2, y2


class Options(Schema):
    """Height and width that all images are brought to, and the names of the sets that train, validate and test."""

    size: tuple[PositiveInt, PositiveInt] | None = None
    train: FileName = "train"
    val: FileName = "val"
    test: FileName = "test"


@dataclass(frozen=True)
class Drawn:
    """An image file with its boxes, in its own pixels, each with the name of its class.

    `size` is what whoever drew them says of the image: height and width, as far as they are known.
    """

    path: Path
    boxes: Sequence[tuple[str, Box]]
    size: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class DrawnSet:
    """Images, the names that their boxes may have, in order, and what to warn of."""

    images: Sequence[Drawn]
    classes: Sequence[str]
    notes: tuple[str, ...] = ()


def read_sets(data: Data, options: Options, read: Callable[[Path, str], DrawnSet | None]) -> Raw:
    """Return what `read` finds of each set in `data.path`, None where there is no such set; train's classes hold.

    Boxes are cut at the edges of their images and resized with them. Raises BadInputError without train or test.
    """
    if data.path is None:
        raise BadInputError(f"data {data.name!r} needs data.path, the folder of the data set")
    root = Path(data.path)
    named = {"train": options.train, "val": options.val, "test": options.test}
    found = {part: read(root, name) for part, name in named.items()}
    sets = {part: drawn for part, drawn in found.items() if drawn is not None and drawn.images}
    for part in ("train", "test"):
        if part not in sets:
            raise BadInputError(f"{root}: no set {named[part]!r} with images; data.options.{part} names another")
    classes = sets["train"].classes
    shape = common_shape([drawn.path for part in sets.values() for drawn in part.images], options.size)
    arrays: dict[str, Array | Rows] = {"classes": np.array(classes)}
    notes = list[str]()
    for part, drawn in sets.items():
        marked = [_labels(image, classes, shape[1:]) for image in drawn.images]
        arrays[f"x_{part}"] = Pictures([image.path for image in drawn.images], shape).inputs()
        arrays[f"y_{part}"] = padded([labels for labels, _ in marked])
        notes += [*drawn.notes, *_cut(drawn.images, [count for _, count in marked])]
    return replace(from_arrays(arrays, data.path, Detection()), notes=tuple(notes))


def _cut(images: Sequence[Drawn], counts: Sequence[int]) -> list[str]:
    """What to say where so many boxes of each image are not in it."""
    cut = [(image, count) for image, count in zip(images, counts, strict=True) if count]
    if not cut:
        return []
    image, count = cut[0]
    total, boxes = sum(counts), sum(len(image.boxes) for image in images)
    return [
        f"{total:,} of {boxes:,} boxes reach out of their images or are empty, and were cut or left out: "
        f"{count} of {len(image.boxes)} in {image.path}"
    ]


def _labels(drawn: Drawn, classes: Sequence[str], size: tuple[int, int]) -> tuple[Array, int]:
    """Its boxes (m, 5) where the image has this size, but for what is not in it; how many are not, or in part."""
    if len(drawn.boxes) > MOST:
        raise BadInputError(f"{drawn.path}: {len(drawn.boxes):,} boxes, where at most {MOST:,} make sense")
    for name, _ in drawn.boxes:
        if name not in classes:
            raise BadInputError(f"{drawn.path}: {name!r} is not a class of the training set{nearest(name, classes)}")
    own = size_of(drawn.path)
    if any(said and said != found for said, found in zip(drawn.size, own, strict=True)):
        told = "×".join("?" if side is None else f"{side:g}" for side in reversed(drawn.size))
        raise BadInputError(
            f"{drawn.path}: is {own[1]}×{own[0]}, its boxes were drawn where it was {told}: give the images that they "
            "were drawn in, or draw them anew"
        )
    corners = np.array([box for _, box in drawn.boxes], np.float64).reshape(-1, 2, 2)
    outside = ((corners < -SLACK) | (corners > np.add(own[::-1], SLACK))).any(axis=(1, 2))
    corners = (corners * [size[1] / own[1], size[0] / own[0]]).clip(0, size[::-1])
    numbers = np.array([classes.index(name) for name, _ in drawn.boxes], np.float64).reshape(-1, 1)
    kept = (corners[:, 1] > corners[:, 0]).all(axis=1)
    labels: Array = np.concatenate([corners.reshape(-1, 4), numbers], axis=1)[kept].astype(np.float32)
    return labels, int((outside | ~kept).sum())
