"""Augmentation that depends on (seed, index, view) alone: a replayed step sees the same samples, whatever its batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekd.data._colors import color_jitter
from edgekd.data._counter import Words, below, random_words
from edgekd.data._signals import rotate3d
from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.plugins import nearest

Size = tuple[int, int]  # H and W


def augment(samples: Array, names: Sequence[str], seed: int, indices: Array, view: int) -> Array:
    """Changed copies of images (N, C, H, W) or signals (N, C, T); `indices` (N,) are their places in the train split.

    Raises BadInputError for an unknown name or for inputs that it does not fit.
    """
    check_names(names)
    for name in names:
        wanted, axes = ("images (N, C, H, W)", 4) if name in IMAGES else ("signals (N, C, T)", 3)
        if samples.ndim != axes:
            raise BadInputError(f"augmentation {name!r} needs {wanted}, not inputs of shape {samples.shape}")
        samples = AUGMENTATIONS[name](samples, random_words(seed, indices, view, name))
    return samples


def check_names(names: Sequence[str]) -> None:
    """Raise BadInputError, with the nearest name, unless every augmentation exists."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise BadInputError(f"unknown augmentation {name!r}{nearest(name, AUGMENTATIONS)}")


@dataclass(frozen=True, eq=False)
class Augmented:
    """How `augment` changes images (N, C, H, W) of a batch, for what moves along: a `tasks.Move`.

    Attributes:
        size: H and W of images; the shape of other samples, which nothing moves along with.
    """

    names: Sequence[str]
    seed: int
    indices: Array
    view: int
    size: tuple[int, ...]

    def __call__(self, samples: Array) -> Array:
        """Return the samples (N, …) changed so."""
        return augment(samples, self.names, self.seed, self.indices, self.view)

    def moved(self, maps: Array) -> Array:
        """Return other maps (N, C, H, W) moved as the images are; what enters from outside is zero."""
        moving = [name for name in self.names if name in POINTS]
        return augment(maps, moving, self.seed, self.indices, self.view)

    def points(self, points: Array) -> Array:
        """Return where points (N, K, 2) are then: x and y in pixels from the image's corner."""
        height, width = self.size
        for name in filter(POINTS.__contains__, self.names):
            points = POINTS[name](points, random_words(self.seed, self.indices, self.view, name), (height, width))
        return points


def crop(images: Array, words: Words) -> Array:
    """Shift by up to 2 pixels (an eighth of the side above 32 pixels) on each axis; what enters is zero."""
    height, width = images.shape[2:]
    margins = _margins((height, width))
    padded = np.pad(images, ((0, 0), (0, 0), *((margin, margin) for margin in margins)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    right, down = _corners(words, margins).T
    shifted: Array = windows[np.arange(len(images)), :, down, right]
    return shifted


def crop_points(points: Array, words: Words, size: Size) -> Array:
    """Shift points (N, K, 2) as `crop` does images of this size."""
    margins = _margins(size)
    moved: Array = points + (np.array(margins[::-1]) - _corners(words, margins))[:, None]
    return moved


def flip(images: Array, words: Words) -> Array:
    """Mirror half of the images horizontally."""
    mirrored, chosen = images.copy(), _chosen(words)
    mirrored[chosen] = images[chosen, ..., ::-1]
    return mirrored


def flip_points(points: Array, words: Words, size: Size) -> Array:
    """Mirror points (N, K, 2) as `flip` does images of this size."""
    mirrored = points * [-1, 1] + [size[1], 0]
    return np.where(_chosen(words)[:, None, None], mirrored, points)


def _margins(size: Size) -> list[int]:
    return [2 if side <= 32 else side // 8 for side in size]


def _corners(words: Words, margins: Sequence[int]) -> Array:
    """Where, x and y (N, 2), each window begins in its image with margins."""
    return np.stack([below(words, 2 * margins[1] + 1), below(words >> np.uint64(32), 2 * margins[0] + 1)], axis=1)


def _chosen(words: Words) -> Array:
    chosen: Array = words >> np.uint64(63) == 1
    return chosen


Augmentation = Callable[[Array, Words], Array]

IMAGES: dict[str, Augmentation] = {"color-jitter": color_jitter, "crop": crop, "flip": flip}
POINTS = {"crop": crop_points, "flip": flip_points}  # of those that move them
SIGNALS: dict[str, Augmentation] = {"rotate3d": rotate3d}
AUGMENTATIONS = IMAGES | SIGNALS
