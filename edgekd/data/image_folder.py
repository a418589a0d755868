"""A folder of images: train/CLASS/*.png, test/CLASS/*.png and, optionally, val/CLASS/*.png."""

from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from edgekd.data._pictures import SUFFIXES, Pictures, common_shape
from edgekd.data.dataset import Split
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.recipe import Data
from edgekd.schema import Schema


class Options(Schema):
    """Height and width that all images are brought to; without them they have one size."""

    size: tuple[PositiveInt, PositiveInt] | None = None


def read(data: Data) -> Raw:
    """Images under `data.path`, uint8 (N, C, H, W): one channel when all are grey, else three."""
    options = Options.parse(data.options, f"data {data.name!r}: options")
    if data.path is None:
        raise BadInputError("data 'image-folder' needs data.path, the folder with train/CLASS/ and test/CLASS/")
    root = Path(data.path)
    classes = tuple(sorted(folder.name for folder in _folders(root / "train")))
    if len(classes) < 2:
        raise BadInputError(f"{root / 'train'}: needs one folder per class and at least two classes")
    parts = ("train", "test", "val") if (root / "val").is_dir() else ("train", "test")
    listing = {part: _listing(root / part, classes) for part in parts}
    shape = common_shape([path for files in listing.values() for path, _ in files], options.size)
    splits = {
        part: Split(Pictures([path for path, _ in files], shape).inputs(), np.array([label for _, label in files]))
        for part, files in listing.items()
    }
    return Raw(splits["train"], splits["test"], classes, splits.get("val"))


def image_paths(root: Path) -> list[Path]:
    """Every image below a folder, in the order of their paths; BadInputError where there is none."""
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise BadInputError(f"{root}: no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    return [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _listing(root: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = []
    for folder in sorted(_folders(root)):
        if folder.name not in classes:
            raise BadInputError(f"{folder}: not a class of train{nearest(folder.name, classes)}")
        found += [
            (path, classes.index(folder.name)) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES
        ]
    if not found:
        raise BadInputError(f"{root}: no images ({', '.join(sorted(SUFFIXES))})")
    return found
