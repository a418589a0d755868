"""The teacher's answers on disk, so that it runs once per distinct input."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.data.dataset import Array
from edgekd.distillation import Output
from edgekd.errors import BadInputError
from edgekd.files import digest, write_bytes
from edgekd.progress import Reporter
from edgekd.training.batches import Batch, Batches
from edgekd.training.precision import casts
from edgekd.training.teacher import Teacher
from edgekd.training.weights import weights_digest

CHUNK = 256
COMMIT = 8 * CHUNK
LOGITS = "logits"
HALF_MAX = 65504.0


class CachedTeacher:
    """Memory-mapped logits (float32) and features (float16) of the whole training set, one folder per view.

    The folder's name is the hash of all that decides them: teacher, data, augmentation, seed, taps and arithmetic.
    Building continues where an interrupted run stopped.
    """

    def __init__(self, teacher: Teacher, folder: Path, reporter: Reporter) -> None:
        self._teacher, self._root, self._reporter = teacher, folder, reporter
        self._augmented = True
        self._views: dict[int, dict[str, Array]] = {}

    @property
    def model(self) -> nn.Module:
        """The teacher."""
        return self._teacher.model

    def ask(self, batch: Batch) -> Output:
        """The teacher's own answer, stored nowhere."""
        return self._teacher.ask(batch)

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Build, or find, the answers to every sample in `views`."""
        self._teacher.prepare(batches, views)
        self._augmented = bool(batches.recipe.augmentation)
        folder = self._root / self._key(batches)[:16]
        self._views = {}
        for view in dict.fromkeys(map(self._distinct, views)):
            path = folder / f"view-{view}"
            if not path.is_dir():
                self._build(batches, view, path)
            self._views[view] = {name: _open(path / f"{name}.npy") for name in self._names()}

    def outputs(self, batch: Batch) -> Output:
        """The stored answers to a batch of a prepared view."""
        arrays, indices = self._views[self._distinct(batch.view)], batch.indices.cpu().numpy()
        device = batch.inputs.device
        found = {name: torch.from_numpy(array[indices]).to(device).float() for name, array in arrays.items()}
        return Output(found.pop(LOGITS), dict(zip(self._teacher.taps, found.values(), strict=True)))

    def _distinct(self, view: int) -> int:
        return view if self._augmented else 0

    def _names(self) -> list[str]:
        return [LOGITS, *(f"feature-{number}" for number in range(len(self._teacher.taps)))]

    def _key(self, batches: Batches) -> str:
        teacher = self._teacher
        return digest(
            {
                "teacher": weights_digest(teacher.model),
                "data": batches.data.digest(),
                "augmentation": batches.recipe.augmentation,
                "seed": batches.seed if batches.recipe.augmentation else None,
                "taps": teacher.taps,
                "bf16": casts(teacher.precision, batches.device),
            }
        )

    def _build(self, batches: Batches, view: int, path: Path) -> None:
        partial, total = path.with_suffix(".partial"), len(batches.data.train)
        partial.mkdir(parents=True, exist_ok=True)
        done = _counter(partial)
        arrays = {name: _open(partial / f"{name}.npy", "r+") for name in self._names()} if done else {}
        with self._reporter.track(f"asking the teacher, view {view}", total, done) as tracker:
            for start in range(done, total, CHUNK):
                answers = self._ask(batches.at(np.arange(start, min(start + CHUNK, total)), view))
                arrays = arrays or {name: _create(partial, name, total, value) for name, value in answers.items()}
                for name, value in answers.items():
                    arrays[name][start : start + len(value)] = value
                if (start + CHUNK) % COMMIT == 0:
                    _commit(partial, arrays, start + CHUNK)
                tracker.advance(len(answers[LOGITS]))
        _commit(partial, arrays, total)
        (partial / "done").unlink()
        partial.rename(path)

    def _ask(self, batch: Batch) -> dict[str, Array]:
        output = self._teacher.outputs(batch)
        features = [output.features[tap].clamp(-HALF_MAX, HALF_MAX).half() for tap in self._teacher.taps]
        return {
            name: value.cpu().numpy() for name, value in zip(self._names(), [output.logits, *features], strict=True)
        }


def _counter(partial: Path) -> int:
    path = partial / "done"
    return int(path.read_text()) if path.is_file() else 0


def _commit(partial: Path, arrays: dict[str, Array], done: int) -> None:
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    write_bytes(partial / "done", str(done).encode())


def _create(partial: Path, name: str, total: int, value: Array) -> NDArray[np.generic]:
    return np.lib.format.open_memmap(
        partial / f"{name}.npy", mode="w+", dtype=value.dtype, shape=(total, *value.shape[1:])
    )


def _open(path: Path, mode: str = "r") -> Array:
    try:
        array: Array = np.lib.format.open_memmap(path, mode=mode)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} is damaged: delete {path.parent} to ask the teacher again") from error
    return array
