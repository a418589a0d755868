"""Samples one by one as a network's file wants them: a batch of one on its axis, settings as they are."""

import json
from pathlib import Path

import numpy as np


def feeds(given: Path, name: str, kinds: dict[str, np.dtype]) -> list[dict[str, np.ndarray]]:
    """The samples of `name`.npz."""
    how = json.loads((given / "feeds.json").read_text())
    settings = {key: np.array(value, kinds[key]) for key, value in how["settings"].items()}
    with np.load(given / f"{name}.npz") as file:
        arrays = dict(file)
    count = len(next(iter(arrays.values())))
    return [
        {key: np.expand_dims(array[row], how["batch_axes"].get(key, 0)) for key, array in arrays.items()} | settings
        for row in range(count)
    ]


def keep(path: Path, answers: list[dict[str, np.ndarray]]) -> None:
    """Write answers by output name, samples first."""
    np.savez(path, **{name: np.stack([answer[name] for answer in answers]) for name in answers[0]})
