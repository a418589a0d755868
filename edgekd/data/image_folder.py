"""A folder of images: train/CLASS/*.png, test/CLASS/*.png and, optionally, val/CLASS/*.png, all of one size."""

from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array, Split
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.reading import reading, require_file
from edgekd.recipe import Data

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
PIXELS = 2**26  # of one image: 8192 × 8192


def read(data: Data) -> Raw:
    """Images under `data.path`, uint8 (N, C, H, W): one channel when all are grey, else three."""
    if data.path is None:
        raise BadInputError("data 'image-folder' needs data.path, the folder with train/CLASS/ and test/CLASS/")
    root = Path(data.path)
    classes = tuple(sorted(folder.name for folder in _folders(root / "train")))
    if len(classes) < 2:
        raise BadInputError(f"{root / 'train'}: needs one folder per class and at least two classes")
    parts = ("train", "test", "val") if (root / "val").is_dir() else ("train", "test")
    listing = {part: _listing(root / part, classes) for part in parts}
    images = _images([path for files in listing.values() for path, _ in files])
    splits, start = {}, 0
    for part, files in listing.items():
        labels = np.array([label for _, label in files], np.int64)
        splits[part] = Split(images[start : start + len(files)], labels)
        start += len(files)
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


def _images(paths: list[Path]) -> Array:
    pixels = [_pixels(path) for path in paths]
    size = pixels[0].shape[:2]
    for path, image in zip(paths, pixels, strict=True):
        if image.shape[:2] != size:
            (height, width), (h, w) = size, image.shape[:2]
            raise BadInputError(f"{path}: is {w}×{h}, {paths[0]} is {width}×{height}; bring all images to one size")
    if all(image.ndim == 2 for image in pixels):
        return np.stack(pixels)[:, None]
    colour = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in pixels]
    return np.ascontiguousarray(np.stack(colour).transpose(0, 3, 1, 2))


def _pixels(path: Path) -> Array:
    from PIL import Image

    with reading(path, "a readable image"), Image.open(require_file(path)) as image:
        if image.width * image.height > PIXELS:
            raise BadInputError(f"{path}: {image.width}×{image.height}, where at most {PIXELS:,} pixels make sense")
        if image.mode.startswith(("I", "F")):
            raise BadInputError(f"{path}: more than 8 bits per channel; convert it, or use an npz")
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
