"""Samples that are read when they are asked for: any data set that gives sample i (torch's map-style ones, folders …).

Nothing here needs torch: a data set is whatever has a length and gives (inputs, label), or both by name, for a number.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.data._named import apart, packed, shapes
from edgekd.data._picked import Picked
from edgekd.errors import BadInputError
from edgekd.plugins import told
from edgekd.tasks import DEFAULT, Task

Array = NDArray[Any]
Pair = tuple[Array, Array]  # of one sample, or of several

SPREAD, DRAWN, CHUNK = 64, 512, 256  # samples that identify a set, that ranges come from, that are read at once
DRAWN_BYTES = 64 << 20
SKIP = "; --skip-broken N (skip_broken=N) leaves up to N such samples out"
TOLD = 3  # of those that were left out


class MapStyle(Protocol):
    """A data set that gives sample i."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Sliced(Protocol):
    """Inputs of which a slice can be had: an array, or what reads when it is asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Array: ...


@dataclass(frozen=True, eq=False)
class Joined:
    """Some inputs after others, of which a slice alone is in memory."""

    first: Sliced
    second: Sliced

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: slice, /) -> Array:
        """Read the rows of a slice without a step."""
        start, stop, _ = rows.indices(len(self))
        count = len(self.first)
        if stop <= count:
            return self.first[start:stop]
        later = self.second[max(0, start - count) : stop - count]
        return later if start >= count else np.concatenate([self.first[start:], later])


@dataclass(frozen=True, eq=False)
class Rows:
    """The inputs (N, …) of a data set, in the place of an array: what is not indexed is not in memory.

    Attributes:
        data: gives the samples.
        places: (N,) which of its samples these are, in which order.
        sample_shape: that of one sample's inputs, the same for all.
        workers: how many processes read ahead in training; 0: none.
        stable: whether a sample is the same whenever it is read; else a teacher answers live.
        notes: what to warn of, such as samples that are missing since they cannot be read.
    """

    data: MapStyle
    places: NDArray[np.int64]
    sample_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    workers: int = 0
    stable: bool = True
    notes: tuple[str, ...] = ()

    @property
    def unstable(self) -> str | None:
        """Why a sample cannot be read again as it was; None where it can."""
        return None if self.stable else "samples differ whenever they are read (their data set draws at random)"

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …)."""
        return len(self.places), *self.sample_shape

    @property
    def ndim(self) -> int:
        """How many axes an array of them would have."""
        return 1 + len(self.sample_shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Array:
        """Read rows, given by numbers or as a slice."""
        chosen = self.places[rows]
        starts = range(0, max(1, len(chosen)), CHUNK)
        parts = [self.read(chosen[start : start + CHUNK]) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All of them, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def subset(self, rows: Array) -> "Rows":
        """The rows at these numbers, unread."""
        return replace(self, places=self.places[rows])

    def some(self, count: int = DRAWN) -> Array:
        """At most `count` rows, or 64 MB of them, spread over all."""
        count = max(1, min(count, DRAWN_BYTES // max(1, self.dtype.itemsize * math.prod(self.sample_shape))))
        return self[np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))]

    def read(self, places: Array) -> Array:
        """Inputs of samples by their places in the data set; BadInputError that names the sample in the way."""
        return self.fill(np.empty((len(places), *self.sample_shape), self.dtype), places)

    def fill(self, inputs: Array, places: Array) -> Array:
        """Write those inputs into an array (N, …), such as one in memory that processes share; errors as in `read`."""
        for row, place in enumerate(places.tolist()):
            found = _inputs(_pair(self.data, place)[0], place)
            if found.shape != self.sample_shape or found.dtype.fields != self.dtype.fields:
                shape, first = (shapes(row) for row in (found[None], np.empty((1, *self.sample_shape), self.dtype)))
                raise BadInputError(f"sample {place} is {shape}, the first one {first}: bring all to one shape")
            if not np.can_cast(found.dtype, self.dtype, "same_kind"):
                raise BadInputError(
                    f"sample {place} is {found.dtype}, the first one {self.dtype}: bring all to one type"
                )
            inputs[row] = found
        return inputs

    def digest(self) -> str:
        """Hexadecimal SHA-256 of its length and of samples spread over it."""
        state = hashlib.sha256(f"{type(self.data).__qualname__}{self.shape}{self.dtype}".encode())
        state.update(np.ascontiguousarray(self.places).data)
        state.update(np.ascontiguousarray(self.some(SPREAD)).data if self.stable else b"changes")
        return state.hexdigest()


def as_rows(part: Any, where: str, skip_broken: int = 0, task: Task = DEFAULT) -> tuple[Rows, Array] | None:
    """Inputs and labels (N, …) of a data set, or of a loader of one; None for anything else.

    A loader says how many workers read; the order of the samples is edgekd's. Labels are read once, all of them. With
    `skip_broken` so are all samples, and as many that cannot be read are left out. The `task` stacks labels that differ
    in shape.
    Raises BadInputError for samples that are no pairs, that fail or differ in shape.
    """
    data, workers = (part.dataset, int(part.num_workers)) if is_loader(part) else (part, 0)
    if isinstance(data, tuple | list | str | Mapping) or hasattr(data, "dtype") or not is_map_style(data):
        return None
    if not len(data):
        raise BadInputError(f"{where} holds no samples")
    try:
        places, left_out = readable(data, skip_broken) if skip_broken else (np.arange(len(data)), None)
        rows, labels = _rows(data, places, workers, task)
        notes = [f"{where}: {left_out}"] if left_out else []
        if is_loader(part) and not _is_torchs(part.collate_fn):
            notes.append(f"{where}: samples are read one by one, so the loader's collate_fn is not called")
        return replace(rows, notes=tuple(notes)), labels
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}") from error


def _is_torchs(function: Any) -> bool:
    """Whether torch brings it, which stacks what it is given and changes no number."""
    return str(getattr(function, "__module__", None)).partition(".")[0] == "torch"


def worker_lost(error: BaseException) -> BadInputError | None:
    """Return what to say where a loader's worker ended before its time; None of any other error."""
    if "DataLoader worker" not in str(error):
        return None
    why = str(error).strip().splitlines()[0].rstrip(". ")
    return BadInputError(f"{why}; often memory ran out: fewer workers (num_workers), or smaller batches")


def readable(data: MapStyle, allowed: int) -> tuple[Array, str | None]:
    """Return which samples can be read, and what to say of those that cannot; BadInputError for more than `allowed`."""
    kept, broken = list[int](), list[str]()
    for place in range(len(data)):
        try:
            sample(data, place)
        except BadInputError as error:
            broken.append(str(error).removesuffix(SKIP))
        else:
            kept.append(place)
        if len(broken) > allowed or (place == len(data) - 1 and not kept):
            raise BadInputError(f"{len(broken)} samples cannot be read, {allowed} may be left out; {broken[-1]}")
    told = f"{len(broken)} of {len(data):,} samples left out: {'; '.join(broken[:TOLD])}"
    return np.array(kept), told if broken else None


def shown(inputs: "Array | Picked | Rows") -> Array | Picked:
    """Return inputs that are in memory, of others some that are spread over all."""
    return inputs.some() if isinstance(inputs, Rows) else inputs


def sample(data: MapStyle, place: int) -> Pair:
    """Return inputs and label of one sample as arrays; raise BadInputError, naming it, where that fails."""
    inputs, label = _pair(data, place)
    return _inputs(inputs, place), np.asarray(label)


def _pair(data: MapStyle, place: int) -> Sequence[Any]:
    """One sample's inputs and label as the data set gives them; each image passes here, so the usual is asked first."""
    try:
        found = data[place]
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"sample {place} cannot be read: {told(error)}{SKIP}") from error
    if not isinstance(found, tuple | list) and isinstance(found, Mapping):
        found = apart(found, f"sample {place}")
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise BadInputError(
            f"sample {place} is a {type(found).__name__}, not a pair of inputs and a label; "
            "several inputs are a dictionary by the names of the model's parameters"
        )
    return found


def _rows(data: MapStyle, places: Array, workers: int, task: Task) -> tuple[Rows, Array]:
    first, again = sample(data, int(places[0])), sample(data, int(places[0]))
    stable = all(map(np.array_equal, first, again))
    rows = Rows(data, places, first[0].shape, first[0].dtype, workers, stable)
    return rows, _labels(data, places, task)


def _labels(data: MapStyle, places: Array, task: Task) -> Array:
    """As the data set lists them (`targets`), if those are what its samples have; else by reading all samples once."""
    known = (getattr(data, name, None) for name in ("targets", "labels"))
    listed: Any = next((labels for labels in known if hasattr(labels, "__len__")), ())
    spread = places[np.unique(np.linspace(0, len(places) - 1, 8).astype(np.int64))].tolist()
    if len(listed) != len(data) or any(not np.array_equal(listed[place], sample(data, place)[1]) for place in spread):
        return _stacked([sample(data, place)[1] for place in places.tolist()], places, task)
    with suppress(ValueError):  # they differ in shape
        return np.asarray(listed)[places]
    return _stacked([np.asarray(listed[place]) for place in places.tolist()], places, task)


def _stacked(labels: Sequence[Array], places: Array, task: Task) -> Array:
    alike = len({label.shape for label in labels}) == 1
    stacked = None if alike else task.stack(labels)
    if stacked is not None:
        return stacked
    for place, label in zip(places, labels, strict=True):
        if label.shape != labels[0].shape:
            raise BadInputError(
                f"the label of sample {place} is {label.shape}, that of sample {places[0]} {labels[0].shape}"
            )
    return np.stack(labels)


def _inputs(value: Any, place: int) -> Array:
    """One sample's inputs: a picture as (C, H, W) uint8, floats as float32, several as one row by name."""
    if isinstance(value, Mapping):
        return packed(value, f"sample {place}", axes=0)
    array = np.asarray(value)
    if hasattr(value, "getbands"):
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def is_loader(part: Any) -> bool:
    """Whether it is a DataLoader, or as one."""
    return all(hasattr(part, name) for name in ("dataset", "batch_size", "num_workers", "sampler"))


def is_map_style(data: Any) -> bool:
    """Whether sample i can be asked for."""
    kinds = [kind.__name__ for kind in type(data).__mro__]
    return hasattr(data, "__len__") and hasattr(data, "__getitem__") and "IterableDataset" not in kinds
