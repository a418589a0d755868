"""Arrays from outside, checked before anything is taught from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekd.data._named import apart, packed, shapes
from edgekd.data._picked import Picked
from edgekd.data.check import numbers, same_count
from edgekd.data.dataset import Array, Dataset, Split, is_several, is_tokens
from edgekd.data.sources import Rows, as_rows
from edgekd.data.streams import as_stream
from edgekd.errors import BadInputError
from edgekd.plugins import told
from edgekd.recipe import Data
from edgekd.tasks import DEFAULT, Task, find_task

PROMISE = (
    "an edgekd.data.Dataset or ((x_train, y_train), (x_test, y_test)), perhaps with (x_val, y_val) between; several "
    "inputs by name are a dictionary; in the place of a pair there may be a torch Dataset or DataLoader"
)

_PARTS = {2: ("train", "test"), 3: ("train", "val", "test")}


@dataclass(frozen=True, eq=False)
class Raw:
    """What a source holds: two splits, perhaps a third, the outputs' names, a Dataset's `task`, and what to warn of."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    val: Split | None = None
    task: Task = DEFAULT
    notes: tuple[str, ...] = ()

    def taught(self, task: Task, source: str) -> "Raw":
        """Return the same for a task of the same kind with other options; BadInputError where labels do not fit it."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        there = {part: split for part, split in splits.items() if split is not None}
        arrays: dict[str, Array | Picked | Rows] = {"classes": np.array(self.classes)} if self.classes else {}
        for part, split in there.items():
            arrays |= {f"x_{part}": split.inputs, f"y_{part}": split.labels}
        return replace(from_arrays(arrays, source, task), notes=self.notes)


def from_arrays(arrays: Mapping[str, Array | Picked | Rows], source: str, task: Task = DEFAULT) -> Raw:
    """Raw data from `x_train`, `y_train`, `x_test`, `y_test` and, optionally, `x_val`, `y_val`, `classes`.

    Raises BadInputError, naming `source` and the array, for what is missing, misshapen, not finite or out of range.
    """
    parts = ("train", "val", "test") if "x_val" in arrays or "y_val" in arrays else ("train", "test")
    missing = [key for part in parts for key in (f"x_{part}", f"y_{part}") if key not in arrays]
    if missing:
        raise BadInputError(
            f"{source}: no {' and no '.join(missing)} (there is: {', '.join(sorted(arrays)) or 'nothing'})"
        )
    splits = {part: _split(arrays[f"x_{part}"], np.asarray(arrays[f"y_{part}"]), part, source, task) for part in parts}
    found = {part: str(shapes(split.inputs)) for part, split in splits.items()}
    if len(set(found.values())) > 1:
        raise BadInputError(f"{source}: samples differ in shape: {', '.join(f'{k} {v}' for k, v in found.items())}")
    firsts = [split.labels[0] for split in splits.values()]
    if len({label.shape for label in firsts}) > 1 and task.stack(firsts) is None:
        labels = ", ".join(f"{part} {split.labels.shape[1:]}" for part, split in splits.items())
        raise BadInputError(f"{source}: labels differ in shape: {labels}")
    given = _names(np.asarray(arrays["classes"]), source) if "classes" in arrays else None
    classes = task.names(splits["train"].labels, given, source)
    width = task.width(splits["train"].labels, classes)
    for part, split in splits.items():
        task.check(split.labels, f"{source}: y_{part}", width, unlabelled=part == "train")
    unread = sorted(arrays.keys() - {*(f"{axis}_{part}" for axis in "xy" for part in parts), "classes"})
    notes = (f"{source}: not read: {', '.join(unread)}",) if unread else ()
    return Raw(splits["train"], splits["test"], classes, splits.get("val"), task, notes)


def _names(classes: Array, source: str) -> list[str]:
    """Return the classes' names; those that are bytes are UTF-8."""
    if classes.ndim != 1:
        raise BadInputError(f"{source}: classes must be names (C,), not {classes.dtype} {classes.shape}")
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in classes.tolist()]


def from_user(function: Callable[..., Any], data: Data, task: Task | None = None) -> Raw | Dataset:
    """What the user's function made of `data.path` (or of nothing): a Dataset, or (inputs, labels) pairs."""
    source = f"data {data.name!r}"
    try:
        result = function() if data.path is None else function(data.path)
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"{source} raised {type(error).__name__}: {error}") from error
    return from_result(result, source, task, data.skip_broken)


def from_result(result: Any, source: str, task: Task | None = None, skip_broken: int = 0) -> Raw | Dataset:
    """A checked Dataset, or raw data from two or three (inputs, labels) pairs; BadInputError, naming `source`, else.

    Without a `task` a Dataset keeps its own, and pairs are of classes. Of a data set that is read sample by sample up
    to `skip_broken` may be left out.
    """
    if isinstance(result, Dataset):
        return _checked(result, source, task)
    try:
        if not isinstance(result, tuple | list):  # two batches of a loader would do, too
            raise TypeError
        named = dict(zip(_PARTS[len(result)], result, strict=True))
        read = {
            part: _read(value, f"{source}: {part}", part != "train", skip_broken, task or DEFAULT) or value
            for part, value in named.items()
        }
        parts = {part: (x, y) for part, (x, y) in read.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{source} must be {PROMISE}, not {type(result).__name__}") from error
    arrays = {f"{axis}_{part}": value for part, pair in parts.items() for axis, value in zip("xy", pair, strict=True)}
    found = {key: _array(value, f"{source}: {key}") for key, value in arrays.items()}
    notes = tuple(note for rows in arrays.values() if isinstance(rows, Rows) for note in rows.notes)
    raw = from_arrays(found, source, task or DEFAULT)
    return replace(raw, notes=(*raw.notes, *notes))


def _read(value: Any, where: str, kept: bool, skip_broken: int, task: Task) -> tuple[Array | Rows, Array] | None:
    if isinstance(value, Mapping):
        return apart(value, where)
    return as_stream(value, where, kept=kept) or as_rows(value, where, skip_broken, task)


def _array(value: Any, where: str) -> Array | Rows:
    if isinstance(value, Rows):
        return value[:] if is_tokens(value) else value  # batches of tokens are formed by their lengths
    if isinstance(value, Mapping):
        return packed(value, where)
    if np.ma.is_masked(value):
        raise BadInputError(f"{where} has masked values, which count as numbers here: fill them in, or leave them out")
    try:
        return np.asarray(value)
    except Exception as error:  # ragged lists, tensors with gradients or on a GPU: whatever their own code raises
        raise BadInputError(f"{where} is no array that numpy can read: {told(error)}") from error


def _checked(dataset: Dataset, source: str, task: Task | None) -> Dataset:
    """The same Dataset with labels and inputs of the types that every plane relies on."""
    given = Raw(dataset.train, dataset.test, dataset.classes, dataset.val, dataset.task)
    raw = given.taught(find_task(task or dataset.task), source)
    return replace(
        dataset, train=raw.train, val=raw.val or dataset.val, test=raw.test, classes=raw.classes, task=raw.task
    )


def _split(inputs: Array | Picked | Rows, labels: Array, part: str, source: str, task: Task) -> Split:
    x, y = f"{source}: x_{part}", f"{source}: y_{part}"
    same_count(inputs, labels, x, f"y_{part}")
    split = Split(_inputs(inputs, x), task.check(labels, y, unlabelled=part == "train"))
    task.check_inputs(split.labels, split.inputs.shape[1:], y)
    return split


def _inputs(inputs: Array | Picked | Rows, where: str) -> Array | Picked | Rows:
    if isinstance(inputs, Picked):
        return Picked(_checked_inputs(inputs.array, where), inputs.places)
    if isinstance(inputs, Rows):
        _require_channels_first(inputs, where)
        numbers(inputs.some(), f"{where} (some of its samples)")
        return inputs
    return _checked_inputs(inputs, where)


def _checked_inputs(inputs: Array, where: str) -> Array:
    inputs = numbers(inputs, where)
    if is_several(inputs):
        return inputs
    _require_channels_first(inputs, where)
    if inputs.dtype == np.uint8:
        return inputs[:, None] if inputs.ndim == 3 else inputs
    if is_tokens(inputs):
        if inputs.min() < 0:
            raise BadInputError(f"{where} holds the token {inputs.min()}: tokens, signed integers (N, L), start at 0")
        return inputs
    return inputs.astype(np.float32, copy=False)


def _require_channels_first(inputs: Array | Rows, where: str) -> None:
    """Raise BadInputError for images as PIL and OpenCV have them; those of bytes may be transparent."""
    few = (1, 2, 3, 4) if inputs.dtype == np.uint8 else (1, 3)
    if inputs.ndim == 4 and inputs.shape[3] in few and inputs.shape[1] not in few:
        raise BadInputError(f"{where} looks channels-last {inputs.shape}: images are (N, channels, height, width)")
