"""Tables with a header: train.csv, test.csv and, optionally, val.csv; the last column is the class.

Columns are apart by commas or, where the header has none, by semicolons or tabs.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekd.data.dataset import Array
from edgekd.data.raw import Raw, from_arrays
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file
from edgekd.recipe import Data

DELIMITERS = ",;\t"


def read(data: Data) -> Raw:
    """The tables in `data.path`: inputs float32 (N, columns - 1); classes are the names in train.csv, in order."""
    if data.path is None:
        raise BadInputError("data 'csv' needs data.path, the folder with train.csv and test.csv")
    root = Path(data.path)
    parts = ("train", "test", "val") if (root / "val.csv").is_file() else ("train", "test")
    tables = {part: _table(root / f"{part}.csv") for part in parts}
    header, classes = tables["train"].header, in_order(tables["train"].classes)
    arrays: dict[str, Array] = {"classes": np.array(classes)}
    for part, table in tables.items():
        path = root / f"{part}.csv"
        if table.header != header:
            raise BadInputError(f"{path}: its columns are {', '.join(table.header)}, of train.csv {', '.join(header)}")
        arrays[f"x_{part}"] = table.values
        arrays[f"y_{part}"] = np.array([class_index(name, classes, path) for name in table.classes], np.int64)
    return from_arrays(arrays, data.path)


class Table(NamedTuple):
    """A file's column names, the numbers (N, columns - 1) and the class of each row."""

    header: list[str]
    values: Array
    classes: list[str]


def _table(path: Path) -> Table:
    with reading(path, "a CSV file with a header"), require_file(path).open(newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        stream.seek(0)
        apart = next((mark for mark in DELIMITERS if mark in first), DELIMITERS[0])
        header, *rows = csv.reader(stream, delimiter=apart)
    if len(header) > 1 and all(map(_is_number, header[:-1])):
        raise BadInputError(f"{path}: row 1 holds numbers, where the names of the columns are wanted")
    numbered = [(n, row) for n, row in enumerate(rows, 2) if row]
    values = np.array([_numbers(row, len(header), f"{path}: row {n}") for n, row in numbered], np.float32)
    classes = [class_name(row[-1], f"{path}: row {n}") for n, row in numbered]
    return Table(header, values.reshape(len(numbered), len(header) - 1), classes)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(row: list[str], width: int, where: str) -> list[float]:
    if len(row) != width:
        raise BadInputError(f"{where} has {len(row)} columns, the header {width}")
    try:
        return [float(cell) for cell in row[:-1]]
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from error


def class_name(cell: str, where: str) -> str:
    """Return a class without the spaces around it; BadInputError where there is none."""
    name = cell.strip()
    if not name:
        raise BadInputError(f"{where} has no class; leave out what nobody labelled")
    return name


def in_order(names: Iterable[str]) -> list[str]:
    """Return each class once: whole numbers by their size, as whoever numbered them did, names by their letters."""
    found = sorted(set(names))
    return sorted(found, key=int) if all(map(str.isdecimal, found)) else found


def class_index(name: str, classes: list[str], path: Path) -> int:
    """Return a class's place among those of train; BadInputError for another one."""
    if name not in classes:
        raise BadInputError(f"{path}: class {name!r} is not in train{path.suffix}")
    return classes.index(name)
