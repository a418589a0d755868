"""What every plane knows of data: raw arrays in splits, and how raw values become model inputs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import Preprocessing, Range
from edgekd.data._picked import LARGE, Picked
from edgekd.data.ranges import range_of
from edgekd.data.sources import Rows, shown
from edgekd.errors import BadInputError
from edgekd.metrics import Metric
from edgekd.tasks import DEFAULT, Task

Array = NDArray[Any]

PADDING = 0  # the token that fills a sequence up
CHUNK_BYTES = 64 << 20  # of numbers that are computed with at once


@dataclass(frozen=True, eq=False)
class Split:
    """Samples as they were stored.

    Attributes:
        inputs: (N, …), in memory, rows of a large array, or read when asked for; images are uint8 (N, C, H, W),
            tokens int32 or int64 (N, L), filled up with `PADDING`. Several inputs are one structured array (N,), a
            field each.
        labels: (N, …), as the task has them: int64 classes (N,), float32 scores (N,) …
    """

    inputs: Array | Picked | Rows
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Array) -> "Split":
        """The samples at `indices`, in that order, in memory."""
        return Split(self.inputs[indices], self.labels[indices])

    def subset(self, indices: Array) -> "Split":
        """The samples at `indices`, in that order; what is large or not in memory stays where it is.

        Tokens are copied: batches of them are formed by their lengths.
        """
        inputs = self.inputs
        if not isinstance(inputs, np.ndarray):
            inputs = inputs.subset(indices)
        elif inputs.nbytes >= LARGE and not is_tokens(inputs):
            inputs = Picked(inputs, indices)
        else:
            inputs = inputs[indices]
        return Split(inputs, self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits; every choice uses `val`, `test` is read once per reported number.

    Attributes:
        classes: what the model's outputs stand for, by name; empty where they have no names.
        preprocessing: how raw values become model inputs; tokens go in as they are.
        task: what is taught, and how that is measured.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    task: Task = DEFAULT

    @property
    def group_size(self) -> int:
        """How many neighbouring rows belong together: the two of a pair, else 1."""
        return self.task.group_size

    @property
    def metric(self) -> Metric:
        """What decides: the first of the task's metrics."""
        return self.task.metric

    @property
    def width(self) -> int:
        """How many outputs a sample has of a network that is built for it."""
        return self.task.width(self.train.labels, self.classes)

    @cached_property
    def input_range(self) -> Range | None:
        """Which values the raw training inputs take; None of tokens, which are no quantities, and of several inputs."""
        plain = not (is_tokens(self.train.inputs) or is_several(self.train.inputs))
        return range_of(shown(self.train.inputs)) if plain else None

    @property
    def told_preprocessing(self) -> Preprocessing | None:
        """What a bundle says of it; nothing where there are several inputs, which have none."""
        return None if is_several(self.train.inputs) else self.preprocessing

    @property
    def labelled(self) -> "Dataset":
        """Only the training samples that have a label."""
        known = self.task.labelled(self.train.labels)
        return self if known.all() else replace(self, train=self.train.subset(np.flatnonzero(known)))

    def of_length(self, length: int) -> "Dataset":
        """The same sequences of tokens, each cut or filled up to `length`; raise BadInputError for other inputs."""
        if not is_tokens(self.train.inputs):
            kind = f"{self.train.inputs.dtype} {self.train.inputs.shape[1:]}"
            raise BadInputError(f"length is for sequences of tokens; inputs are {kind}")
        train, val, test = (
            Split(resized(np.asarray(split.inputs), length), split.labels)
            for split in (self.train, self.val, self.test)
        )
        return replace(self, train=train, val=val, test=test)

    def digest(self) -> str:
        """Hexadecimal SHA-256 of everything a model could learn from: names, preprocessing and array contents."""
        state = hashlib.sha256(repr((self.classes, self.preprocessing, self.task)).encode())
        for split in (self.train, self.val, self.test):
            if isinstance(split.inputs, Rows):
                state.update(split.inputs.digest().encode())
            for array in (split.labels,) if isinstance(split.inputs, Rows) else (split.inputs, split.labels):
                state.update(f"{array.dtype}{array.shape}".encode())
                for part in array.parts() if isinstance(array, Picked) else (array,):
                    state.update(np.ascontiguousarray(part).data)
        return state.hexdigest()


def is_tokens(raw: Array | Picked | Rows) -> bool:
    """Whether samples are sequences of tokens: signed integers (N, L)."""
    return raw.ndim == 2 and raw.dtype.kind == "i"


def is_several(raw: Array | Picked | Rows) -> bool:
    """Whether a sample has several inputs, by name: they go into the model as they come."""
    return raw.dtype.names is not None


def resized(tokens: Array, length: int) -> Array:
    """Tokens (N, L) cut, or filled up with `PADDING`, to (N, length)."""
    cut = tokens[:, :length]
    return np.pad(cut, ((0, 0), (0, length - cut.shape[1])), constant_values=PADDING)


def prepare(raw: Array, preprocessing: Preprocessing) -> Any:
    """Model inputs of `raw`'s shape: tokens int64, else float32 `(raw * scale - mean) / std` per channel (axis 1).

    Floats that stay as they are, are no copy, unless they lie at an odd address of a mapped file. Several inputs are a
    dictionary, integers int64 but for uint8.
    """
    if raw.dtype.names is not None:
        return {name: _as_it_comes(raw[name]) for name in raw.dtype.names}
    if is_tokens(raw):
        return raw.astype(np.int64)
    if preprocessing == Preprocessing() and raw.dtype == np.float32:
        return np.require(raw, requirements="A")
    channels = (1, -1) + (1,) * (raw.ndim - 2)
    mean = np.asarray(preprocessing.mean, np.float32).reshape(channels)
    std = np.asarray(preprocessing.std, np.float32).reshape(channels)
    inputs: Array = raw.astype(np.float32)
    inputs *= np.float32(preprocessing.scale)
    inputs -= mean
    inputs /= std
    return inputs


def model_inputs(raw: Array, preprocessing: Preprocessing, name: str = "input") -> dict[str, Array]:
    """The same by name; a single one has the `name`."""
    inputs = prepare(raw, preprocessing)
    return inputs if isinstance(inputs, dict) else {name: inputs}


def _as_it_comes(values: Array) -> Array:
    """One of several inputs: integers that count or name things are int64, as embeddings want them."""
    kept = values.dtype.kind in "bf" or values.dtype == np.uint8
    return np.ascontiguousarray(values, None if kept else np.int64)


def normalisation(inputs: Array | Picked | Rows) -> Preprocessing:
    """The preprocessing that gives `inputs` zero mean and unit variance per channel; uint8 is first scaled to 0…1.

    Tokens have none, nor have floats that a data set makes when asked: they go into the model as they come.
    """
    if is_tokens(inputs) or is_several(inputs) or (isinstance(inputs, Rows) and inputs.dtype != np.uint8):
        return Preprocessing()
    inputs = shown(inputs)
    scale = 1 / 255 if inputs.dtype == np.uint8 else 1.0
    axes = tuple(axis for axis in range(inputs.ndim) if axis != 1)
    mean = _mean(inputs, axes)
    squares = sum(_squares(chunk - mean).sum(axes) for chunk in _chunks(inputs))
    std = np.sqrt(squares * mean.size / inputs.size)
    std = np.where(std > 0, std * scale, 1.0)
    return Preprocessing(scale=scale, mean=_rounded(mean * scale, std), std=_rounded(std, std))


def split_validation(train: Split, fraction: float = 0.1, seed: int = 0, task: Task = DEFAULT) -> tuple[Split, Split]:
    """Train and validation: `fraction` of each kind of sample, drawn by `seed`; the rest keeps its order.

    Of a kind with three or more at least one validates. What belongs together stays so.
    """
    random, kinds = np.random.default_rng([seed, 1]), task.strata(train.labels)[:: task.group_size]
    held_out = np.zeros(len(kinds), bool)
    for kind in np.unique(kinds):
        members = random.permutation(np.flatnonzero(kinds == kind))
        least = 1 if len(members) > 2 else 0
        held_out[members[: max(least, round(fraction * len(members)))]] = True
    held_out = held_out.repeat(task.group_size)
    return train.subset(np.flatnonzero(~held_out)), train.subset(np.flatnonzero(held_out))


def limit(train: Split, count: int, seed: int, group_size: int = 1) -> Split:
    """The first `count` samples of a seeded order; groups of neighbours stay together."""
    groups = np.random.default_rng([seed, 2]).permutation(len(train) // group_size)[: max(1, count // group_size)]
    chosen = train.subset((groups[:, None] * group_size + np.arange(group_size)).ravel())
    few = isinstance(chosen.inputs, Picked) and 2 * len(chosen) < len(train)  # for them nobody keeps the whole array
    return chosen.take(np.arange(len(chosen))) if few else chosen


def _mean(inputs: Array | Picked, axes: tuple[int, ...]) -> Array:
    if not isinstance(inputs, Picked):
        mean: Array = inputs.mean(axes, dtype=np.float64, keepdims=True)
        return mean
    total = np.add.reduce([chunk.sum(axes, dtype=np.float64, keepdims=True) for chunk in _chunks(inputs)])
    return np.asarray(total / (inputs.size // total.size))


def _chunks(inputs: Array | Picked) -> Iterator[Array]:
    """Some at a time, of large ones fewer: as float64 they take at most 64 MB."""
    size = min(4096, max(1, CHUNK_BYTES // (8 * inputs[0].size)))
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def _squares(differences: Array) -> Array:
    squares: Array = np.square(differences, out=differences)
    return squares


def _rounded(values: Array, std: Array) -> tuple[float, ...]:
    """Values of channels to six digits, or as many as leave an error of at most 0.0005 of a deviation."""
    with np.errstate(over="ignore", divide="ignore"):
        needed = np.ceil(np.log10(np.abs(values.ravel()) / std.ravel()).clip(0, 13)).astype(int) + 4
    pairs = zip(values.ravel(), needed, strict=True)
    return tuple(float(f"{value:.{max(6, digits)}g}") for value, digits in pairs)
