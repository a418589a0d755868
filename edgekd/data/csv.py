"""Tables with a header: train.csv, test.csv and, optionally, val.csv; the last column is the class."""

import csv
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array
from edgekd.data.raw import Raw, from_arrays
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file
from edgekd.recipe import Data


def read(data: Data) -> Raw:
    """The tables in `data.path`: inputs float32 (N, columns - 1); classes are the names found in train.csv, sorted."""
    if data.path is None:
        raise BadInputError("data 'csv' needs data.path, the folder with train.csv and test.csv")
    root = Path(data.path)
    parts = ("train", "test", "val") if (root / "val.csv").is_file() else ("train", "test")
    tables = {part: _table(root / f"{part}.csv") for part in parts}
    classes = sorted(set(tables["train"][1]))
    arrays: dict[str, Array] = {"classes": np.array(classes)}
    for part, (values, names) in tables.items():
        arrays[f"x_{part}"] = values
        arrays[f"y_{part}"] = np.array([class_index(name, classes, root / f"{part}.csv") for name in names], np.int64)
    return from_arrays(arrays, data.path)


def _table(path: Path) -> tuple[Array, list[str]]:
    with reading(path, "a CSV file with a header"), require_file(path).open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    values = np.array([_numbers(row, len(header), f"{path}: row {n}") for n, row in enumerate(rows, 2)], np.float32)
    return values.reshape(len(rows), len(header) - 1), [row[-1] for row in rows]


def _numbers(row: list[str], width: int, where: str) -> list[float]:
    if len(row) != width:
        raise BadInputError(f"{where} has {len(row)} columns, the header {width}")
    try:
        return [float(cell) for cell in row[:-1]]
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from error


def class_index(name: str, classes: list[str], path: Path) -> int:
    """Return a class's place among those of train; BadInputError for another one."""
    if name not in classes:
        raise BadInputError(f"{path}: class {name!r} is not in train{path.suffix}")
    return classes.index(name)
