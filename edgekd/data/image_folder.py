"""A folder of images: train/CLASS/**/*.png, test/CLASS/**/*.png and, optionally, val/CLASS/**/*.png."""

from pathlib import Path

from pydantic import PositiveInt

from edgekd.data._class_folders import class_folders, files_below
from edgekd.data._pictures import SUFFIXES, Decoded, Pictures, common_shape
from edgekd.data.dataset import Split
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.schema import Schema


class Options(Schema):
    """Height and width that all images are brought to; without them they have one size."""

    size: tuple[PositiveInt, PositiveInt] | None = None


def read(data: Data) -> Raw:
    """Images under `data.path`, uint8 (N, C, H, W): one channel when all are grey, else three."""
    options = Options.parse(data.options, f"data {data.name!r}: options")
    classes, found = class_folders(data, SUFFIXES, "images", Decoded)
    shape = common_shape([path for files in found.values() for path in files.paths], options.size)
    splits = {part: Split(Pictures(files.paths, shape).inputs(), files.labels) for part, files in found.items()}
    notes = tuple(note for files in found.values() for note in files.notes)
    return Raw(splits["train"], splits["test"], classes, splits.get("val"), notes=notes)


def image_paths(root: Path) -> list[Path]:
    """Every image below a folder, in the order of their paths; BadInputError where there is none."""
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    found = [path for path in files_below(root) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise BadInputError(f"{root}: no images ({', '.join(sorted(SUFFIXES))})")
    return found
