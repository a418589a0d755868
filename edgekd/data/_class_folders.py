"""Files in a folder for each class: train/CLASS/**, test/CLASS/** and, optionally, val/CLASS/**."""

from collections import Counter
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
    """One split's files, the class of each, and what to say of what is missing."""

    paths: Sequence[Path]
    labels: Array
    notes: tuple[str, ...] = ()


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
        if part == "train" and _empty(files.labels, classes):
            raise BadInputError("; ".join(files.notes))
        splits[part] = _sound(files, data.skip_broken, root / part, decoded)
    return classes, splits


def listing(root: Path, classes: Sequence[str], suffixes: Collection[str], kind: str, known_by: str = "train") -> Files:
    """Return the files in a folder for each class, in the order of `classes`, which `known_by` knows.

    What is of another suffix is left out, and told; what is hidden is not there.
    Raises BadInputError for a folder of another name, and where there is no file.
    """
    found, others = list[tuple[Path, int]](), Counter[str]()
    for folder in sorted(_folders(root)):
        if folder.name not in classes:
            raise BadInputError(f"{folder}: not a class of {known_by}{nearest(folder.name, classes)}")
        label = classes.index(folder.name)
        for path in files_below(folder):
            if path.suffix.lower() in suffixes:
                found.append((path, label))
            else:
                others[path.suffix.lower() or path.name] += 1
    left_out = f"{root}: left out, as no {kind}: {', '.join(f'{others[name]} {name}' for name in sorted(others))}"
    if not found:
        raise BadInputError(f"{root}: no {kind} ({_told(suffixes)})")
    labels = np.array([label for _, label in found])
    missing = _empty(labels, classes)
    more = f" and {len(missing) - 1} other classes" if missing[1:] else ""
    absent = f"{root}: no {kind} ({_told(suffixes)}) of {missing[0]!r}{more}" if missing else ""
    loose = sum(path.suffix.lower() in suffixes and not path.name.startswith(".") for path in root.iterdir())
    beside = f"{root}: {kind} beside the folders of classes are left out: {loose:,}" if loose else ""
    notes = tuple(filter(None, (absent, left_out if others else "", beside)))
    return Files([path for path, _ in found], labels, notes)


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder, in the order of their paths, without those that a name with a dot hides.

    So are links, which nobody follows to folders: what is at their end, or is not, is said by whoever reads it.
    """
    found = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _empty(labels: Array, classes: Sequence[str]) -> list[str]:
    """Return the classes of which there is no file."""
    there = set(labels.tolist())
    return [name for label, name in enumerate(classes) if label not in there]


def _sound(files: Files, allowed: int, where: Path, decoded: Callable[[Sequence[Path]], MapStyle]) -> Files:
    """Files that can be decoded, but for up to `allowed` others; where none may be, nobody looks."""
    if not allowed:
        return files
    kept, left_out = readable(decoded(files.paths), allowed)
    notes = (*files.notes, f"{where}: {left_out}") if left_out else files.notes
    return Files([files.paths[place] for place in kept], files.labels[kept], notes)


def _told(suffixes: Collection[str]) -> str:
    return ", ".join(sorted(suffixes))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BadInputError(f"{root}: no such folder")
    return [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
