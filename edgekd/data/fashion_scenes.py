"""Synthetic scenes: two to five items of Fashion-MNIST on a textured ground, 64×64, with the class of each pixel.

Made of the subset that ships with edgekd, the same ones each time. Scenes of different splits share no item: those for
validation use items that training never shows, those for testing items of the subset's test split.
"""

from collections.abc import Iterator

import numpy as np
from pydantic import PositiveInt

from edgekd.data.dataset import Array, Split, split_validation
from edgekd.data.fashion_mnist import CLASSES
from edgekd.data.fashion_mnist_subset import read as read_items
from edgekd.data.raw import Raw
from edgekd.recipe import Data
from edgekd.schema import Schema
from edgekd.tasks.segmentation import Segmentation

SIZE, FEWEST, MOST = 64, 2, 5
SEEN = 32  # a pixel that is brighter belongs to its item
GROUND = 96  # the ground is darker than that, but for its noise
COARSE, NOISE = 8, 12.0  # pixels of the ground's texture, and the deviation of what is added to each pixel


class Options(Schema):
    """How many scenes of each split."""

    train: PositiveInt = 2000
    val: PositiveInt = 300
    test: PositiveInt = 600


def read(data: Data) -> Raw:
    """Return grey scenes (N, 1, 64, 64) uint8 and maps (N, 64, 64): 0 is the ground, c + 1 an item of class c."""
    options = Options.parse(data.options, f"data {data.name!r}: options")
    items = read_items(data.model_copy(update={"options": {}}))
    train, val = split_validation(items.train)
    parts = ((train, options.train), (val, options.val), (items.test, options.test))
    scenes, held_out, test = (_scenes(split, count, number) for number, (split, count) in enumerate(parts))
    return Raw(scenes, test, ("ground", *CLASSES), held_out, Segmentation())


def _scenes(items: Split, count: int, number: int) -> Split:
    random = np.random.default_rng([number, count])
    pairs = list(_each(items, count, random))
    return Split(np.stack([scene for scene, _ in pairs])[:, None], np.stack([labels for _, labels in pairs]))


def _each(items: Split, count: int, random: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield scenes with their maps; what is pasted later hides what is there."""
    for _ in range(count):
        scene, labels = _ground(random), np.zeros((SIZE, SIZE), np.uint8)
        for index in random.choice(len(items), random.integers(FEWEST, MOST + 1), replace=False):
            item = items.inputs[index][0]
            top, left = random.integers(0, SIZE - np.array(item.shape) + 1)
            place = np.s_[top : top + item.shape[0], left : left + item.shape[1]]
            seen = item > SEEN
            scene[place][seen] = item[seen]
            labels[place][seen] = items.labels[index] + 1
        yield scene, labels


def _ground(random: np.random.Generator) -> Array:
    """Return blocks of grey with noise on each pixel, (64, 64) uint8."""
    blocks = random.uniform(0, GROUND, (SIZE // COARSE, SIZE // COARSE))
    ground = np.kron(blocks, np.ones((COARSE, COARSE))) + random.normal(0, NOISE, (SIZE, SIZE))
    return np.clip(np.rint(ground), 0, 255).astype(np.uint8)
