"""Losses, terms, metric and learning rate as TensorBoard draws them, through accelerate's tracker."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekd.errors import MissingExtraError

FOLDER = "tensorboard"
# A step is drawn this often: the tracker writes to disk each time.
STEPS = 10


class NoCurves:
    """Draws nothing."""

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Step number `step` was taken."""

    def epoch(self, step: int, record: Mapping[str, Any]) -> None:
        """An epoch ended with step number `step`."""


class Curves(NoCurves):
    """Draws in `folder/tensorboard`; what an interrupted run drew from step number `start` on is replaced.

    Raises MissingExtraError where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, start: int) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtraError("tensorboard")
        from accelerate.tracking import TensorBoardTracker

        self._tracker = TensorBoardTracker(FOLDER, folder, purge_step=start)
        if hasattr(self._tracker, "start"):  # accelerate before 1.11 starts by itself
            self._tracker.start()

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Every few steps: the loss and its terms."""
        if step % STEPS == 0:
            self._tracker.log({f"step/{name}": value for name, value in losses.items()}, step=step)

    def epoch(self, step: int, record: Mapping[str, Any]) -> None:
        """The record of an epoch: mean losses, metric on the validation split, learning rate."""
        values = {"loss": record["loss"], **record["terms"]}
        values |= {"val": record["val"], "learning_rate": record["learning_rate"]}
        self._tracker.log({f"epoch/{name}": value for name, value in values.items()}, step=step)
