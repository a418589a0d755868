"""Boxes as YOLO's tools write them: images/SET/*.jpg, labels/SET/*.txt (class x y width height), classes.txt.

A set may also have a folder of its own: SET/images and SET/labels.
"""

from collections.abc import Sequence
from pathlib import Path

from edgekd.data._class_folders import files_below
from edgekd.data._drawn import Box, Drawn, DrawnSet, Options, read_sets
from edgekd.data._pictures import SUFFIXES, Size, size_of
from edgekd.data.image_folder import image_paths
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file
from edgekd.recipe import Data

CLASSES = "classes.txt"  # which drawing tools write beside the boxes, too
LIMIT = 2**22  # bytes of one text file


def read(data: Data) -> Raw:
    """Images uint8 (N, C, H, W) and boxes in pixels (N, M, 5); an image without a text file shows nothing."""
    return read_sets(data, Options.parse(data.options, f"data {data.name!r}: options"), _set)


def _set(root: Path, name: str) -> DrawnSet | None:
    places = [(root / "images" / name, root / "labels" / name), (root / name / "images", root / name / "labels")]
    images, labels = next(((images, labels) for images, labels in places if images.is_dir()), (None, None))
    if images is None or labels is None:
        return None
    if not labels.is_dir():
        raise BadInputError(f"{labels}: no such folder, where the boxes of {images} are wanted")
    classes = _classes(root / CLASSES)
    texts = {path: labels / path.relative_to(images).with_suffix(".txt") for path in image_paths(images)}
    known = {*texts.values(), labels / CLASSES}
    orphans = [path for path in files_below(labels) if path.suffix == ".txt" and path not in known]
    return DrawnSet([Drawn(path, _boxes(text, path, classes)) for path, text in texts.items()], classes, _told(orphans))


def _told(orphans: Sequence[Path]) -> tuple[str, ...]:
    """What to say of text files whose images are not there."""
    kinds = ", ".join(sorted(SUFFIXES))
    return (f"text files of no image ({kinds}): {len(orphans):,}, such as {orphans[0]}",) if orphans else ()


def _classes(path: Path) -> list[str]:
    """The classes' names, by their numbers."""
    if not path.exists():
        raise BadInputError(f"{path}: no such file; write the name of a class a line, as data.yaml's `names` have them")
    *names, last = _lines(path) or [""]
    if "" in names:
        raise BadInputError(f"{path}: line {names.index('') + 1} names no class")
    return [*names, last] if last else names


def _boxes(path: Path, image: Path, classes: Sequence[str]) -> list[tuple[str, Box]]:
    if not path.exists():
        return []
    size = size_of(image)
    lines = [(number, line) for number, line in enumerate(_lines(path), 1) if line]
    return [_box(line, f"{path}: line {number}", size, classes) for number, line in lines]


def _box(line: str, where: str, size: Size, classes: Sequence[str]) -> tuple[str, Box]:
    number, *cells = line.split()
    try:
        x, y, width, height = map(float, cells)
    except ValueError as error:
        raise BadInputError(f"{where} must be a class and x, y, width and height: {line!r}") from error
    if not all(0 <= share <= 1 for share in (x, y, width, height)):
        raise BadInputError(f"{where} must hold x, y, width and height as shares of the image, 0 to 1: {line!r}")
    if not number.isdecimal() or int(number) >= len(classes):
        raise BadInputError(f"{where} has the class {number!r}; classes.txt names the classes 0 to {len(classes) - 1}")
    left, right = ((x + side * width / 2) * size[1] for side in (-1, 1))
    top, bottom = ((y + side * height / 2) * size[0] for side in (-1, 1))
    return classes[int(number)], (left, top, right, bottom)


def _lines(path: Path) -> list[str]:
    with reading(path, "a text file"):
        text = require_file(path, LIMIT).read_text(encoding="utf-8-sig")
    return [line.strip() for line in text.splitlines()]
