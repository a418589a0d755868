"""Loaders that bring an order of their own (a stream, a sampler of the user's): taken as they come."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data._named import apart, packed, shapes
from edgekd.data.sources import DRAWN, Array, Pair, Rows, is_loader, is_map_style, worker_lost
from edgekd.errors import BadInputError
from edgekd.plugins import told

ORDERED = frozenset({"RandomSampler", "SequentialSampler"})  # whose order edgekd may as well choose itself
PYTHONS = frozenset({"builtins", "itertools"})  # whose iterators never begin anew: generators, zip, islice …
BATCHED = frozenset({"BatchSampler", "NoneType"})  # whose batches, too


@dataclass(frozen=True, eq=False)
class Stream(Rows):
    """Training inputs that come in batches of a loader; asked for by number, its first samples stand for all.

    Attributes:
        batch: samples in a batch; smaller ones are left out.
        kept: its first samples.
        name: what the user calls it; without one nothing that was made of it is used again.
    """

    batch: int = 1
    kept: Array = field(default_factory=lambda: np.zeros(0))
    name: str | None = None

    @property
    def unstable(self) -> str:
        """Why a sample cannot be read again."""
        return "the loader has an order of its own"

    def read(self, places: Array) -> Array:
        """The first samples, over and over."""
        rows: Array = self.kept[places % len(self.kept)]
        return rows

    def subset(self, rows: Array) -> Rows:
        """Refuse: nothing of it can be held out."""
        raise BadInputError("a loader with an order of its own cannot be split: give (train, val, test)")

    def digest(self) -> str:
        """Its name; without one another text each time."""
        return self.name or uuid.uuid4().hex

    def batches(self) -> Iterator[Pair]:
        """One epoch of whole batches; BadInputError, naming the batch, where one fails or has another shape."""
        for inputs, labels in _pairs(self.data):
            if inputs.shape[1:] != self.sample_shape or inputs.dtype.fields != self.dtype.fields:
                raise BadInputError(f"a batch has samples {shapes(inputs)}, the first one {shapes(self.kept)}")
            if len(inputs) == self.batch:
                yield inputs, labels


@dataclass(frozen=True, eq=False)
class Sized:
    """Batches of which `length` make an epoch, for a stream that does not say when it ends.

    Attributes:
        batches: is iterated anew for each epoch: a DataLoader, a WebLoader …
        name: with one, an interrupted training of it resumes.
    """

    batches: Iterable[Any]
    length: int
    name: str | None = None

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.length)


def as_stream(part: Any, where: str, *, kept: bool) -> tuple[Array | Rows, Array] | None:
    """Inputs and labels (N, …) of batches in an order of their own, after one pass over them; None for anything else.

    `kept` reads it into memory, as a split that is evaluated time and again. Raises BadInputError for a loader without
    length.
    """
    if not _is_stream(part):
        return None
    _require_anew(part, where, kept)
    try:
        length = len(part)
    except TypeError as error:
        advice = "edgekd.data.Sized(loader, batches) says it, or give data of which sample i can be asked for"
        raise BadInputError(
            f"{where}: the {type(part).__name__} has no length, so nobody knows when an epoch ends: {advice}"
        ) from error
    found, labels = list[Array](), list[Array]()
    for inputs, marks in _pairs(part):
        labels.append(marks)
        kept = kept or (inputs.ndim == 2 and inputs.dtype.kind == "i")  # batches of tokens are formed by their lengths
        if kept or sum(map(len, found)) < DRAWN:
            found.append(inputs)
    if not found or not length:
        raise BadInputError(f"{where} holds no samples")
    first, marks = np.concatenate(found), np.concatenate(labels)
    if kept:
        return first, marks
    whole = [mark for mark in labels if len(mark) == len(labels[0])]
    count = sum(map(len, whole))
    name = getattr(getattr(part, "dataset", part), "name", None)
    return Stream(
        part, np.arange(count), first.shape[1:], first.dtype, stable=False,
        batch=len(labels[0]), kept=first[:count], name=None if name is None else str(name),
    ), np.concatenate(whole)  # fmt: skip


def _require_anew(part: Any, where: str, kept: bool) -> None:
    """Raise BadInputError for what can be gone through but once, where each epoch does so."""
    batches = part.batches if isinstance(part, Sized) else part
    if not kept and isinstance(batches, Iterator) and type(batches).__module__ in PYTHONS:
        raise BadInputError(
            f"{where}: the {type(batches).__name__} ends with the first epoch: give what begins anew for each, such as "
            "an object whose __iter__ calls the function that makes it"
        )


def _is_stream(part: Any) -> bool:
    """Whether batches come in an order that edgekd does not choose."""
    if is_loader(part):
        return not (is_map_style(part.dataset) and _is_plain(part))
    return hasattr(part, "__iter__") and not is_map_style(part)


def _is_plain(loader: Any) -> bool:
    """Whether an epoch of a loader is each sample once, in an order and in batches that nobody chose."""
    sampler, batch_sampler = loader.sampler, getattr(loader, "batch_sampler", None)
    drawn = getattr(sampler, "replacement", False) or getattr(sampler, "_num_samples", None) is not None
    return type(sampler).__name__ in ORDERED and type(batch_sampler).__name__ in BATCHED and not drawn


def _pairs(loader: Any) -> Iterator[Pair]:
    """Inputs and labels of a loader's batches."""
    number, batches = 0, iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except Exception as error:  # the user's own code: anything may come out of it
            raise worker_lost(error) or BadInputError(f"batch {number} cannot be read: {told(error)}") from error
        if isinstance(batch, Mapping):
            batch = apart(batch, f"batch {number}")
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise BadInputError(
                f"batch {number} is a {type(batch).__name__}, not a pair of inputs and labels; "
                "several inputs are a dictionary by the names of the model's parameters"
            )
        yield _inputs(batch[0], f"batch {number}"), np.asarray(batch[1])
        number += 1


def _inputs(value: Any, where: str) -> Array:
    if isinstance(value, Mapping):
        return packed(value, where)
    inputs: NDArray[Any] = np.asarray(value)
    return inputs.astype(np.float32) if inputs.dtype.kind == "f" else inputs
