"""Boxes as COCO has them: SET.json (or annotations/instances_SET.json), and the images in a folder SET."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from edgekd.data._drawn import Box, Drawn, DrawnSet, Options, read_sets
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.reading import read_json
from edgekd.recipe import Data
from edgekd.schema import explain

LIMIT = 2**31  # bytes: COCO itself has half a gigabyte
Number = Annotated[float, Field(allow_inf_nan=False)]


class Picture(BaseModel):
    """An image, and its size in pixels where the file says it."""

    id: int
    file_name: str
    width: float | None = None
    height: float | None = None


class Category(BaseModel):
    """A class."""

    id: int
    name: str


class Annotation(BaseModel):
    """A box: x, y, width and height in pixels."""

    image_id: int
    category_id: int
    bbox: tuple[Number, Number, Number, Number]
    iscrowd: int = 0


class Document(BaseModel):
    """What of such a file is read; the rest may be anything."""

    images: list[Picture]
    categories: list[Category]
    annotations: list[Annotation]


def read(data: Data) -> Raw:
    """Images uint8 (N, C, H, W) and boxes in pixels (N, M, 5); classes are in the order of their ids.

    Regions of a crowd are no boxes and are left out.
    """
    return read_sets(data, Options.parse(data.options, f"data {data.name!r}: options"), _set)


def _set(root: Path, name: str) -> DrawnSet | None:
    places = (root / f"{name}.json", root / "annotations" / f"instances_{name}.json")
    path = next((place for place in places if place.exists()), None)
    if path is None:
        return None
    document = _document(path)
    for what, known in (
        ("images have the id", [picture.id for picture in document.images]),
        ("categories have the id", [category.id for category in document.categories]),
        ("categories have the name", [category.name for category in document.categories]),
    ):
        _require_once(known, f"{path}: several {what}")
    names = {category.id: category.name for category in sorted(document.categories, key=lambda found: found.id)}
    boxes: dict[int, list[tuple[str, Box]]] = {picture.id: [] for picture in document.images}
    for place, found in enumerate(document.annotations):
        if found.image_id not in boxes or found.category_id not in names:
            raise BadInputError(f"{path}: annotations.{place} is of an image or a category that is not listed")
        if not found.iscrowd:
            x, y, width, height = found.bbox
            if width < 0 or height < 0:
                raise BadInputError(f"{path}: annotations.{place}.bbox must be x, y, width and height: {found.bbox}")
            boxes[found.image_id].append((names[found.category_id], (x, y, x + width, y + height)))
    images = [
        Drawn(_inside(root / name, picture.file_name, path), boxes[picture.id], (picture.height, picture.width))
        for picture in document.images
    ]
    return DrawnSet(images, list(names.values()))


def _require_once(known: Iterable[object], where: str) -> None:
    found, count = next(iter(Counter(known).most_common(1)), (None, 0))
    if count > 1:
        raise BadInputError(f"{where} {found!r}")


def _document(path: Path) -> Document:
    try:
        return Document.model_validate(read_json(path, LIMIT))
    except ValidationError as error:
        raise BadInputError(f"{path}: {explain(Document, error)}") from error


def _inside(folder: Path, name: str, path: Path) -> Path:
    """The image's file; BadInputError where its name leads out of the folder."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"{path}: the image {name!r} is not inside {folder}")
    return folder / name
