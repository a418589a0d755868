"""Boxes as Pascal VOC has them: ImageSets/Main/SET.txt, Annotations/NAME.xml, JPEGImages/NAME.jpg."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.data._drawn import Box, Drawn, DrawnSet, Options, read_sets
from edgekd.data._pictures import SUFFIXES
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.names import require_file_name
from edgekd.reading import read_lines, read_xml
from edgekd.recipe import Data

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read(data: Data) -> Raw:
    """Images uint8 (N, C, H, W) and boxes in pixels (N, M, 5); classes are the names in the training set, sorted."""
    return read_sets(data, Options.parse(data.options, f"data {data.name!r}: options"), _set)


def objects(path: Path) -> list[tuple[str, Box]]:
    """Return the name and the xmin, ymin, xmax and ymax of each object in an annotation, as they are written there."""
    return _objects(read_xml(path), path)


def _objects(annotation: "Element", path: Path) -> list[tuple[str, Box]]:
    return [(_text(found, "name", path), _edges(found, path)) for found in annotation.iter("object")]


def _set(root: Path, name: str) -> DrawnSet | None:
    listed = root / "ImageSets" / "Main" / f"{name}.txt"
    if not listed.exists():
        return None
    stems = [line.split()[0].decode("utf-8", "replace") for _, line in read_lines(listed)]
    images = [_drawn(root, require_file_name(stem, str(listed))) for stem in stems]
    return DrawnSet(images, sorted({label for image in images for label, _ in image.boxes}))


def _drawn(root: Path, stem: str) -> Drawn:
    """One image; pixels are numbered from 1 there, and the last one is inside the box."""
    path = root / "Annotations" / f"{stem}.xml"
    annotation = read_xml(path)
    boxes = [(name, (x1 - 1, y1 - 1, x2, y2)) for name, (x1, y1, x2, y2) in _objects(annotation, path)]
    return Drawn(_image(root, stem), boxes, (_side(annotation, "height"), _side(annotation, "width")))


def _image(root: Path, stem: str) -> Path:
    candidates = [root / "JPEGImages" / f"{stem}{suffix}" for suffix in (".jpg", *sorted(SUFFIXES))]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise BadInputError(f"{candidates[0]}: no such file")
    return found


def _side(annotation: "Element", name: str) -> float | None:
    """A side of the image in pixels; None where it is not told, as some tools write 0."""
    try:
        return float(annotation.findtext(f"size/{name}") or 0) or None
    except ValueError:
        return None


def _text(element: "Element", name: str, path: Path) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise BadInputError(f"{path}: an object without {name}")
    return text


def _edges(element: "Element", path: Path) -> Box:
    texts = [_text(element, f"bndbox/{edge}", path) for edge in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError as error:
        raise BadInputError(f"{path}: bndbox: {error}") from error
    if not math.isfinite(left + top + right + bottom) or left > right or top > bottom:
        raise BadInputError(f"{path}: the box {', '.join(texts)} must have xmin ≤ xmax and ymin ≤ ymax")
    return left, top, right, bottom
