"""Seven shoulder exercises from a smartwatch's six inertial channels (Burns et al., arXiv:1802.01489).

The recordings come from the package `seglearn` (BSD licence) as they are installed and are not part of edgekd: ten
people, each with either arm, 140 in all, at 50 Hz. A window is 2 s long and overlaps the next by half; none spans two
recordings. People are never shared between the splits, which are fixed: 7 validates, 8, 9 and 10 test.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data._arrays_only import read_objects
from edgekd.data._packages import package_file
from edgekd.data.dataset import Array, Split
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.recipe import Data

WINDOW, STRIDE, CHANNELS = 100, 50, 6
VALIDATES, TEST = (7,), (8, 9, 10)
ADVICE = "pip install --no-deps seglearn==1.2.5, or --set data.path=FILE of its watch_dataset.npy"


def read(data: Data) -> Raw:
    """Float32 windows (N, 6, 100): acceleration in g and rotation in rad/s, from `data.path` or seglearn."""
    path = Path(data.path) if data.path else package_file("seglearn", "data/watch_dataset.npy", ADVICE)
    content = read_objects(path)
    _check(content, path)
    people = np.asarray(content["subject"])
    held_out = np.isin(people, VALIDATES), np.isin(people, TEST)
    train, val, test = (_split(content, chosen) for chosen in (~np.logical_or(*held_out), *held_out))
    return Raw(train, test, tuple(content["y_labels"]), val)


def _split(content: dict[str, Any], chosen: Array) -> Split:
    recordings = [windows(content["X"][place]) for place in np.flatnonzero(chosen)]
    labels = np.repeat(content["y"][chosen], [len(recording) for recording in recordings])
    return Split(np.concatenate(recordings), labels.astype(np.int64))


def windows(recording: Array) -> Array:
    """A recording (time, channels) as float32 windows (N, channels, `WINDOW`); what is left at its end is dropped."""
    cut = np.lib.stride_tricks.sliding_window_view(recording, WINDOW, axis=0)[::STRIDE]
    return np.ascontiguousarray(cut, np.float32)


def _check(content: Any, path: Path) -> None:
    keys = {"X", "y", "subject", "y_labels"}
    if not isinstance(content, dict) or not keys <= content.keys():
        raise BadInputError(f"{path}: not seglearn's watch data: it must hold {', '.join(sorted(keys))}")
    if not len(content["X"]) == len(content["y"]) == len(content["subject"]):
        raise BadInputError(f"{path}: recordings, labels and subjects do not belong together")
    for number, recording in enumerate(content["X"]):
        if recording.ndim != 2 or recording.shape[1] != CHANNELS or len(recording) < WINDOW:
            raise BadInputError(f"{path}: recording {number} is {recording.shape}, not ({WINDOW} or more, {CHANNELS})")
