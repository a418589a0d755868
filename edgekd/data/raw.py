"""Arrays from outside, checked before anything is taught from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekd.bundle import Task
from edgekd.data.dataset import Array, Dataset, Split, is_tokens
from edgekd.errors import BadInputError
from edgekd.recipe import Data


@dataclass(frozen=True, eq=False)
class Raw:
    """What a source holds: two splits, perhaps a third, the names of the classes, and a Dataset's `task`."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    val: Split | None = None
    task: Task = "classification"


def from_arrays(arrays: Mapping[str, Array], source: str) -> Raw:
    """Raw data from `x_train`, `y_train`, `x_test`, `y_test` and, optionally, `x_val`, `y_val`, `classes`.

    Raises BadInputError, naming `source` and the array, for what is missing, misshapen, not finite or out of range.
    """
    parts = ("train", "val", "test") if "x_val" in arrays or "y_val" in arrays else ("train", "test")
    missing = [key for part in parts for key in (f"x_{part}", f"y_{part}") if key not in arrays]
    if missing:
        raise BadInputError(
            f"{source}: no {' and no '.join(missing)} (there is: {', '.join(sorted(arrays)) or 'nothing'})"
        )
    splits = {part: _split(arrays[f"x_{part}"], arrays[f"y_{part}"], part, source) for part in parts}
    shapes = {part: split.inputs.shape[1:] for part, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise BadInputError(f"{source}: samples differ in shape: {', '.join(f'{k} {v}' for k, v in shapes.items())}")
    return Raw(splits["train"], splits["test"], _classes(arrays, splits, source), splits.get("val"))


def from_user(function: Callable[..., Any], data: Data) -> Raw | Dataset:
    """What the user's function made of `data.path` (or of nothing): a Dataset, or two (inputs, labels) pairs."""
    source = f"data {data.name!r}"
    try:
        result = function() if data.path is None else function(data.path)
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"{source} raised {type(error).__name__}: {error}") from error
    return from_result(result, source)


def from_result(result: Any, source: str) -> Raw | Dataset:
    """A checked Dataset, or raw data from two (inputs, labels) pairs; BadInputError, naming `source`, otherwise."""
    if isinstance(result, Dataset):
        if result.classes:
            from_arrays(_arrays(result), source)
        return result
    try:
        (x_train, y_train), (x_test, y_test) = result
    except (TypeError, ValueError) as error:
        promise = "an edgekd.data.Dataset or ((x_train, y_train), (x_test, y_test))"
        raise BadInputError(f"{source} must be {promise}, not {type(result).__name__}") from error
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return from_arrays({key: np.asarray(value) for key, value in arrays.items()}, source)


def _arrays(dataset: Dataset) -> dict[str, Array]:
    arrays: dict[str, Array] = {"classes": np.array(dataset.classes)}
    for part, split in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        arrays |= {f"x_{part}": split.inputs, f"y_{part}": split.labels}
    return arrays


def _split(inputs: Array, labels: Array, part: str, source: str) -> Split:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise BadInputError(f"{source}: y_{part} must hold integer labels (N,), not {labels.dtype} {labels.shape}")
    if inputs.ndim < 2 or inputs.dtype.kind not in "biuf":
        raise BadInputError(f"{source}: x_{part} must hold numbers (N, …), not {inputs.dtype} {inputs.shape}")
    if len(inputs) != len(labels) or not len(labels):
        raise BadInputError(f"{source}: x_{part} has {len(inputs)} samples, y_{part} {len(labels)}")
    if labels.min() < 0:
        raise BadInputError(f"{source}: y_{part} holds the negative label {labels.min()}")
    return Split(_inputs(inputs, f"{source}: x_{part}"), labels.astype(np.int64))


def _inputs(inputs: Array, where: str) -> Array:
    if inputs.ndim == 4 and inputs.shape[3] in (1, 3) and inputs.shape[1] not in (1, 3):
        raise BadInputError(f"{where} looks channels-last {inputs.shape}: images are (N, channels, height, width)")
    if inputs.dtype == np.uint8:
        return inputs[:, None] if inputs.ndim == 3 else inputs
    if is_tokens(inputs):
        return inputs
    values = inputs.astype(np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(1)
    if not finite.all():
        raise BadInputError(f"{where} is not finite in sample {int(finite.argmin())}")
    return values


def _classes(arrays: Mapping[str, Array], splits: Mapping[str, Split], source: str) -> tuple[str, ...]:
    count = int(splits["train"].labels.max()) + 1
    classes = tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else tuple(map(str, range(count)))
    if len(classes) < 2:
        raise BadInputError(f"{source}: y_train holds one class; there is nothing to tell apart")
    for part, split in splits.items():
        if split.labels.max() >= len(classes):
            raise BadInputError(
                f"{source}: y_{part} holds the label {split.labels.max()}, but there are {len(classes)} classes"
            )
    return classes
