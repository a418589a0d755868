"""Files in a folder for each class: train/CLASS/*, test/CLASS/* and, optionally, val/CLASS/*."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array
from edgekd.data.sources import MapStyle, readable
from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.recipe import Data


@dataclass(frozen=True)
class Files:
    """One split's files, the class of each, and what to say of those that were left out."""

    paths: Sequence[Path]
    labels: Array
    note: str | None = None


def class_folders(
    data: Data, suffixes: Collection[str], kind: str, decoded: Callable[[Sequence[Path]], MapStyle]
) -> tuple[tuple[str, ...], dict[str, Files]]:
    """Return the classes and the files of `data.path`'s splits, of these suffixes.

    Up to `data.skip_broken` of a split that cannot be `decoded` are left out. Raises BadInputError, naming the folder.
    """
    if data.path is None:
        raise BadInputError(f"data {data.name!r} needs data.path, the folder with train/CLASS/ and test/CLASS/")
    root = Path(data.path)
    classes = tuple(sorted(folder.name for folder in _folders(root / "train")))
    if len(classes) < 2:
        raise BadInputError(f"{root / 'train'}: needs one folder per class and at least two classes")
    splits = {}
    for part in ("train", "test", "val") if (root / "val").is_dir() else ("train", "test"):
        files = listing(root / part, classes, suffixes, kind)
        splits[part] = _sound(files, data.skip_broken, root / part, decoded)
    return classes, splits


def listing(root: Path, classes: Sequence[str], suffixes: Collection[str], kind: str, known_by: str = "train") -> Files:
    """Return the files in a folder for each class, in the order of `classes`, which `known_by` knows.

    Raises BadInputError for a folder of another name, and where there is no file.
    """
    found = list[tuple[Path, int]]()
    for folder in sorted(_folders(root)):
        if folder.name not in classes:
            raise BadInputError(f"{folder}: not a class of {known_by}{nearest(folder.name, classes)}")
        label = classes.index(folder.name)
        found += [(path, label) for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes]
    if not found:
        raise BadInputError(f"{root}: no {kind} ({', '.join(sorted(suffixes))})")
    return Files([path for path, _ in found], np.array([label for _, label in found]))


def _sound(files: Files, allowed: int, where: Path, decoded: Callable[[Sequence[Path]], MapStyle]) -> Files:
    """Files that can be decoded, but for up to `allowed` others; where none may be, nobody looks."""
    if not allowed:
        return files
    kept, left_out = readable(decoded(files.paths), allowed)
    return Files([files.paths[place] for place in kept], files.labels[kept], left_out and f"{where}: {left_out}")


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    return [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
