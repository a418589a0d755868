"""Which samples a step sees: a function of the seed, the epoch and the place within it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekd.data.augment import augment
from edgekd.data.dataset import Array, Dataset, prepare
from edgekd.recipe import Data
from edgekd.training.precision import place
from edgekd.training.seeding import derive


@dataclass(frozen=True)
class Batch:
    """Model inputs (N, …) float32, labels and positions in the training set (N,) int64, and the augmentation's view."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    view: int


@dataclass(frozen=True, eq=False)
class Batches:
    """The training set in batches of `size`; the last incomplete one of an epoch is left out."""

    data: Dataset
    recipe: Data
    size: int
    seed: int
    device: torch.device

    def __len__(self) -> int:
        return max(1, len(self.data.train) // self.size)

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """Batches of one epoch, from the one numbered `start`; the epoch's view is consistent (arXiv:2106.05237)."""
        order = np.random.default_rng(derive(self.seed, "order", epoch)).permutation(len(self.data.train))
        for number in range(start, len(self)):
            yield self.at(order[number * self.size : (number + 1) * self.size], epoch % self.recipe.views)

    def at(self, indices: Array, view: int) -> Batch:
        """The samples at `indices` as they look in `view`."""
        samples = self.data.train.take(indices)
        raw = augment(samples.inputs, self.recipe.augmentation, self.seed, indices, view)
        inputs = torch.from_numpy(prepare(raw, self.data.preprocessing))
        labels, positions = torch.from_numpy(samples.labels), torch.from_numpy(indices)
        return Batch(place(inputs, self.device), labels.to(self.device), positions.to(self.device), view)
