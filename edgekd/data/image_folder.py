"""A folder of images: train/CLASS/*.png, test/CLASS/*.png and, optionally, val/CLASS/*.png."""

from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from edgekd.data._pictures import SUFFIXES, Decoded, Pictures, common_shape
from edgekd.data.dataset import Split
from edgekd.data.raw import Raw
from edgekd.data.sources import readable
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
    found = {part: _listing(root / part, classes) for part in parts}
    sound = {part: _readable(files, data.skip_broken, root / part) for part, files in found.items()}
    listing = {part: files for part, (files, _) in sound.items()}
    shape = common_shape([path for files in listing.values() for path, _ in files], options.size)
    splits = {
        part: Split(Pictures([path for path, _ in files], shape).inputs(), np.array([label for _, label in files]))
        for part, files in listing.items()
    }
    notes = tuple(note for _, note in sound.values() if note)
    return Raw(splits["train"], splits["test"], classes, splits.get("val"), notes=notes)


def image_paths(root: Path) -> list[Path]:
    """Every image below a folder, in the order of their paths; BadInputError where there is none."""
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise BadInputError(f"{root}: no images ({', '.join(sorted(SUFFIXES))})")
    return found


def _readable(files: list[tuple[Path, int]], allowed: int, where: Path) -> tuple[list[tuple[Path, int]], str | None]:
    """Files that can be decoded, and what to say of up to `allowed` others; where none may be, nobody looks."""
    if not allowed:
        return files, None
    kept, left_out = readable(Decoded([path for path, _ in files]), allowed)
    return [files[place] for place in kept], left_out and f"{where}: {left_out}"


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
