"""The files of a teacher's answers: what they will take, how they are built, and how they are read."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.data.dataset import Array
from edgekd.distillation import Output
from edgekd.errors import BadInputError, DamagedError
from edgekd.files import needs_room
from edgekd.locks import lock
from edgekd.progress import Reporter
from edgekd.training.append_npy import RowWriter, open_rows, safe_rows
from edgekd.training.batches import Batch, Batches, by_length
from edgekd.training.logit_codec import Encoding
from edgekd.training.teacher import Teacher

CHUNK = 256
COMMIT_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Answers:
    """Stored answers by view, all in view 0 unless views are `distinct`; sample `i` is in row `row_of[i]`."""

    encoding: Encoding
    arrays: Mapping[int, Mapping[str, Array]]
    row_of: NDArray[np.int64]
    distinct: bool

    def at(self, batch: Batch) -> Output:
        """The answers to a batch."""
        rows = self.row_of[batch.indices.cpu().numpy()]
        arrays = self.arrays[batch.view if self.distinct else 0]
        return self.encoding.decode({name: array[rows] for name, array in arrays.items()}, batch.device)


@dataclass(frozen=True, eq=False)
class AnswerFiles:
    """The answers to `views` of a training set, in `folder`, one folder per view; `example` is one sample's rows."""

    teacher: Teacher
    batches: Batches
    encoding: Encoding
    example: Mapping[str, Array]
    folder: Path
    views: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """What all views take."""
        return self._row * self._samples * len(self.views)

    def build(self, reporter: Reporter) -> None:
        """Ask the teacher what it was not asked yet, or what is damaged; of several processes one asks, others wait.

        Raises DiskFullError.
        """
        with needs_room(self.folder), self._locked():
            for view in self.views:
                self._discard_damaged(view, reporter)
            missing = [view for view in self.views if not self._path(view).is_dir()]
            if missing:
                self._announce(missing, reporter)
            for view in missing:
                self._ask(view, reporter)

    def open(self) -> Answers:
        """What was built."""
        arrays = {
            view: {name: open_rows(self._path(view) / f"{name}.npy") for name in self.example} for view in self.views
        }
        return Answers(self.encoding, arrays, np.argsort(self._order), bool(self.batches.recipe.augmentation))

    @property
    def _row(self) -> int:
        return sum(rows[0].nbytes for rows in self.example.values())

    @property
    def _samples(self) -> int:
        return len(self.batches.data.train)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Samples in the order of the rows: tokens by length, so that chunks carry little padding."""
        return by_length(self.batches.data.train.inputs)

    def _path(self, view: int) -> Path:
        return self.folder / f"view-{view}"

    def _partial(self, view: int) -> Path:
        return self.folder / f"view-{view}.partial"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as held:
            lock(held.fileno())
            yield

    def _discard_damaged(self, view: int, reporter: Reporter) -> None:
        for folder, least in ((self._path(view), self._samples), (self._partial(view), 0)):
            try:
                damaged = None if not folder.is_dir() or safe_rows(folder) >= least else f"{folder} is damaged"
            except DamagedError as error:
                damaged = str(error)
            if damaged:
                reporter.say(f"{damaged}: the teacher is asked again")
                shutil.rmtree(folder)

    def _announce(self, missing: list[int], reporter: Reporter) -> None:
        views = f"{len(self.views)} view{'s' if len(self.views) > 1 else ''}"
        reporter.say(f"teacher's answers: {self._samples:,} samples × {views}, {amount(self.nbytes)} in {self.folder}")
        rows = sum(self._samples - safe_rows(self._partial(view)) for view in missing)
        free = shutil.disk_usage(self.folder).free
        if rows * self._row > free:
            raise BadInputError(
                f"the teacher's answers need {amount(rows * self._row)} and {self.folder} has {amount(free)} free: "
                "set cache.top_k, take fewer data.views, or choose another folder"
            )

    def _ask(self, view: int, reporter: Reporter) -> None:
        with RowWriter(self._partial(view), self.example, self._samples) as writer:
            title, saved = f"asking the teacher, view {view}", time.monotonic()
            with reporter.track(title, self._samples, writer.done) as tracker:
                for start in range(writer.done, self._samples, CHUNK):
                    batch = self.batches.at(self._order[start : start + CHUNK], view)
                    writer.append(self.encoding.encode(self.teacher.outputs(batch)))
                    if time.monotonic() - saved > COMMIT_SECONDS:
                        writer.commit()
                        saved = time.monotonic()
                    tracker.advance(len(batch.indices))
            writer.finish(self._path(view))


def amount(nbytes: int) -> str:
    """Bytes as people say them, in powers of 1000."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if nbytes >= size:
            return f"{nbytes / size:,.1f} {unit}"
    return f"{nbytes / 1e3:,.1f} kB"
