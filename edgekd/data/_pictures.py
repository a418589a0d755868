"""Image files as one array, or read when asked for where all of them are too many; brought to one size if asked.

A photograph is turned as its EXIF orientation says: people who look at it, and their tools, see it so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.data.dataset import Array
from edgekd.data.sources import Pair, Rows
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.reading import reading, require_file

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
PIXELS = 2**26  # of one image: 8192 × 8192
IN_MEMORY = 2 * 2**30  # bytes
ORIENTATION, SIDEWAYS = 0x0112, range(5, 9)  # a tag, and its values where rows are stored as columns
Size = tuple[int, int]  # height and width


def pillow() -> Any:
    """PIL's `Image`; MissingExtraError without it."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("images") from error
    return Image


@dataclass(frozen=True)
class Pictures:
    """Image files that are decoded when asked for, uint8 (C, H, W); what sample i shows is not known here."""

    paths: Sequence[Path]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pair:
        return pixels(self.paths[index], self.shape), np.array(0)

    def rows(self) -> Rows:
        """Return all of them (N, C, H, W), unread."""
        return Rows(self, np.arange(len(self)), self.shape, np.dtype(np.uint8))

    def inputs(self) -> Array | Rows:
        """Return all of them (N, C, H, W), in memory if they are not too many."""
        rows = self.rows()
        return rows[:] if len(self) * int(np.prod(self.shape)) <= IN_MEMORY else rows


@dataclass(frozen=True)
class Decoded:
    """Image files in their own sizes, to see which can be read."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pair:
        return pixels(self.paths[index], (3, *size_of(self.paths[index]))), np.array(0)


def common_shape(paths: Sequence[Path], size: Size | None = None) -> tuple[int, int, int]:
    """Return (C, H, W), one channel where all are grey; BadInputError where sizes differ and no `size` is asked for."""
    found = [_header(path) for path in paths]
    height, width = size or found[0][:2]
    for path, (h, w, _) in zip(paths, found, strict=True):
        if size is None and (h, w) != (height, width):
            raise BadInputError(
                f"{path}: is {w}×{h}, {paths[0]} is {width}×{height}; bring all images to one size, "
                "as data.options.size = [height, width] does"
            )
    return 1 if all(grey for *_, grey in found) else 3, height, width


def size_of(path: Path) -> Size:
    """Return height and width of an image file, which is not decoded."""
    height, width, _ = _header(path)
    return height, width


def pixels(path: Path, shape: tuple[int, int, int]) -> Array:
    """Return an image file as uint8 (C, H, W), stretched to that size."""
    channels, height, width = shape
    with reading(path, "a readable image"), pillow().open(require_file(path)) as image:
        _require_sane(image, path)
        flat = _turned(image).convert("L" if channels == 1 else "RGB")
        if flat.size != (width, height):
            flat = flat.resize((width, height), pillow().Resampling.BILINEAR)
        return np.asarray(flat).reshape(height, width, channels).transpose(2, 0, 1)


def _header(path: Path) -> tuple[int, int, bool]:
    """Height and width as it is seen, and whether it is grey."""
    with reading(path, "a readable image"), pillow().open(require_file(path)) as image:
        _require_sane(image, path)
        sides = (image.width, image.height) if _orientation(image) in SIDEWAYS else (image.height, image.width)
        return *sides, image.mode in ("1", "L", "LA")


def _orientation(image: "Image.Image") -> int:
    """Where its first row and column are, 1 to 8 (Exif 2.32, tag 0x0112); 1, upright, where it does not say."""
    found: Any = image.getexif().get(ORIENTATION)
    return int(found) if found in range(1, 9) else 1


def _turned(image: "Image.Image") -> "Image.Image":
    """The image upright."""
    if _orientation(image) == 1:
        return image
    from PIL import ImageOps

    upright: Image.Image = ImageOps.exif_transpose(image)
    return upright


def _require_sane(image: "Image.Image", path: Path) -> None:
    if image.width * image.height > PIXELS:
        raise BadInputError(f"{path}: {image.width}×{image.height}, where at most {PIXELS:,} pixels make sense")
    if image.mode.startswith(("I", "F")):
        raise BadInputError(f"{path}: more than 8 bits per channel; convert it, or use an npz")
