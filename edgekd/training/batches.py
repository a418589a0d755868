"""Which samples a step sees: a function of the seed, the epoch and the place within it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from edgekd.bundle import Preprocessing
from edgekd.data._picked import Picked
from edgekd.data.augment import Augmented
from edgekd.data.dataset import PADDING, Array, Dataset, is_tokens, prepare
from edgekd.data.sources import Rows
from edgekd.data.streams import Stream
from edgekd.errors import BadInputError
from edgekd.networks import Inputs, named, to_device
from edgekd.outputs import each
from edgekd.recipe import Data
from edgekd.tasks import DEFAULT, Task
from edgekd.training.read_ahead import read_ahead
from edgekd.training.seeding import derive

# So many batches are drawn together and sorted by length, so that short sentences do not carry long ones' padding.
POOL = 32
NOWHERE = -1
MASKS = frozenset({"mask", "attention_mask"})


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        inputs: (N, …) float32, or (N, L) int64 tokens, cut to the longest of the batch; several by name.
        labels: (N, …), as the task has them.
        indices: (N,) int64 positions in the training set, `NOWHERE` of what a loader brings in an order of its own.
        view: which of the fixed augmentations was applied.
        task: what the labels are, as the data set says.
    """

    inputs: Inputs
    labels: Tensor
    indices: Tensor
    view: int
    task: Task = DEFAULT

    @property
    def mask(self) -> Tensor | None:
        """(N, L) bool, the tokens that are not padding; None where the inputs are no tokens and have no mask."""
        if isinstance(self.inputs, Tensor):
            return None if self.inputs.is_floating_point() else self.inputs != PADDING
        found = [value for name, value in named(self.inputs).items() if name in MASKS]
        return found[0].bool() if found else None

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.labels.device

    @property
    def axes(self) -> int:
        """How many axes its inputs have; 0 of several."""
        return self.inputs.ndim if isinstance(self.inputs, Tensor) else 0


@dataclass(frozen=True, eq=False)
class Batches:
    """The training set in batches of `size`, shared among `processes`; an epoch's last incomplete batch is left out.

    Rows that belong together (`data.group_size`, a pair of sentences) stay neighbours, in the same process.
    """

    data: Dataset
    recipe: Data
    size: int
    seed: int
    device: torch.device
    process: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return max(1, len(self.data.train) // self.size)

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """This process's share of the batches of one epoch, from the one numbered `start`.

        The epoch's view is the same for teacher and student (consistent teaching, arXiv:2106.05237).
        """
        if isinstance(self.data.train.inputs, Stream):
            yield from self._as_they_come(self.data.train.inputs, epoch, start)
            return
        random = np.random.default_rng(derive(self.seed, "order", epoch))
        group_size, per_batch = self.data.group_size, self.size // self.data.group_size
        order = random.permutation(len(self.data.train) // group_size)[: len(self) * per_batch]
        numbers = np.arange(len(self))
        if is_tokens(self.data.train.inputs):
            order, numbers = self._by_length(order, per_batch), random.permutation(len(self))
        shares = [order[number * per_batch : (number + 1) * per_batch] for number in numbers[start:]]
        places = [
            (units[self.process :: self.processes][:, None] * group_size + np.arange(group_size)).ravel()
            for units in shares
        ]
        train = self.data.train
        for indices, inputs in zip(places, read_ahead(train.inputs, places), strict=True):
            yield self._batch(inputs, train.labels[indices], indices, epoch % self.recipe.views)

    def _as_they_come(self, stream: Stream, epoch: int, start: int) -> Iterator[Batch]:
        """This process's share of a loader's own batches, whose samples have no place in the training set."""
        found = start
        for inputs, labels in islice(stream.batches(), start, len(self)):
            units = np.arange(self.size).reshape(-1, self.data.group_size)[self.process :: self.processes].ravel()
            marks = self.data.task.check(labels, f"batch {found}", unlabelled=True)[units]
            self.data.task.check_inputs(marks, inputs.shape[1:], f"batch {found}")
            numbers = (epoch * len(self) + found) * self.size + units  # each epoch augments anew
            batch = self._batch(inputs[units], marks, numbers, epoch % self.recipe.views)
            yield replace(batch, indices=torch.full_like(batch.indices, NOWHERE))
            found += 1
        if found < len(self):
            raise BadInputError(
                f"the loader gave {found} batches in epoch {epoch + 1}, {len(self)} when it was read first"
            )

    def at(self, indices: Array, view: int) -> Batch:
        """The samples at `indices` as they look in `view`."""
        train = self.data.train
        return self._batch(train.inputs[indices], train.labels[indices], indices, view)

    def _batch(self, raw: Array, labels: Array, indices: Array, view: int) -> Batch:
        move = Augmented(self.recipe.augmentation, self.seed, indices, view, raw.shape[2:])
        moved = self.data.task.moved(labels, move) if self.recipe.augmentation else labels
        inputs = tensors(cut(move(raw)), self.data.preprocessing)
        targets, positions = torch.from_numpy(moved).to(self.device), torch.from_numpy(indices).to(self.device)
        return Batch(to_device(inputs, self.device), targets, positions, view, self.data.task)

    def _by_length(self, order: Array, per_batch: int) -> Array:
        tokens = (np.asarray(self.data.train.inputs) != PADDING).sum(1).reshape(-1, self.data.group_size).max(1)
        pools = [order[start : start + POOL * per_batch] for start in range(0, len(order), POOL * per_batch)]
        return np.concatenate([pool[np.argsort(tokens[pool], kind="stable")] for pool in pools])


def tensors(raw: Array, preprocessing: Preprocessing) -> Inputs:
    """Raw samples as a network takes them: a tensor, or several by name."""
    inputs: Inputs = each(prepare(raw, preprocessing), torch.from_numpy)
    return inputs


def by_length(inputs: Array | Picked | Rows) -> Array:
    """The order (N,) in which tokens (N, L) grow, so that neighbours carry little padding; other inputs' own."""
    if not is_tokens(inputs):
        return np.arange(len(inputs))
    return np.argsort((np.asarray(inputs) != PADDING).sum(1), kind="stable")


def cut(raw: Array) -> Array:
    """Tokens (N, L) without the columns that are padding in every row; anything else as it is."""
    if not is_tokens(raw):
        return raw
    used = np.flatnonzero((raw != PADDING).any(0))
    return raw[:, : used[-1] + 1 if len(used) else 1]
