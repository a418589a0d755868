"""The one training loop: teachers, students and quantisation-aware fine-tuning all pass through it."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from edgekd.data.dataset import Dataset
from edgekd.errors import PromiseBrokenError
from edgekd.files import write_json
from edgekd.progress import Reporter, Tracker
from edgekd.recipe import Data, Training
from edgekd.training.average import Average
from edgekd.training.batches import Batch, Batches
from edgekd.training.checkpoint import JSON, Position, load_checkpoint, save_checkpoint
from edgekd.training.evaluate import evaluate
from edgekd.training.interrupts import deferred_interrupts
from edgekd.training.objectives import Objective
from edgekd.training.optimizer import build_optimizer
from edgekd.training.precision import place_model, runner
from edgekd.training.schedule import learning_rate
from edgekd.training.seeding import derive
from edgekd.training.state import State
from edgekd.training.weights import load_weights, save_tensors

BEST = "best.safetensors"
HISTORY = "history.json"
CHECKPOINT_SECONDS = 30.0

OnProgress = Callable[[nn.Module, float], None]


@dataclass(frozen=True)
class Trained:
    """The best validation accuracy, one record per epoch, and the seconds spent over all resumed runs."""

    val_metric: float
    history: tuple[dict[str, Any], ...]
    seconds: float


def train(
    model: nn.Module,
    data: Dataset,
    recipe_data: Data,
    settings: Training,
    objective: Objective,
    folder: Path,
    *,
    seed: int,
    key: str,
    reporter: Reporter,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Train `model` in place and leave it with the weights that were best on the validation split.

    Continues from `folder`'s checkpoint when that has the same `key`, and at one thread reaches bit-equal weights.
    `on_progress(model, fraction)` is called before every step, in training mode; what it does may depend on the
    fraction of steps done alone. Raises PromiseBrokenError when the loss is no longer finite, BadInputError when the
    checkpoint is damaged; Ctrl-C saves one and raises KeyboardInterrupt.
    """
    saved = load_checkpoint(folder, key)
    position, tensors = saved or (Position(), {})
    session = _Session(
        model, data, recipe_data, settings, objective, folder, seed, key, reporter, on_progress, position
    )
    if position.step < session.total_steps:
        session.learn(tensors)
    load_weights(model, folder / BEST, position.best_sha256)
    return Trained(position.best or 0.0, tuple(position.history), position.seconds)


class _Session:
    """One process's share of a training."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        recipe_data: Data,
        settings: Training,
        objective: Objective,
        folder: Path,
        seed: int,
        key: str,
        reporter: Reporter,
        on_progress: OnProgress | None,
        position: Position,
    ) -> None:
        self._model, self._data, self._settings, self._objective = model, data, settings, objective
        self._folder, self._seed, self._key = folder, seed, key
        self._reporter, self._on_progress, self._position = reporter, on_progress, position
        self._accelerator = Accelerator()
        device = self._accelerator.device
        place_model(model, device, data.train.inputs.ndim)
        self._run = runner(model, settings.precision, device)
        self._batches = Batches(data, recipe_data, min(settings.batch, len(data.train)), seed, device)
        self.total_steps = settings.epochs * len(self._batches)

    def learn(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the remaining steps."""
        self._begin(tensors)
        position, steps = self._position, len(self._batches)
        title = f"training {self._folder.name}"
        with (
            deferred_interrupts() as interrupted,
            self._reporter.track(title, self.total_steps, position.step) as tracker,
        ):
            while position.step < self.total_steps:
                epoch, start = divmod(position.step, steps)
                self._model.train()
                for batch in self._batches.epoch(epoch, start):
                    self._step(batch, tracker)
                    if position.step % steps and (interrupted() or self._due()):
                        self._save()
                        if interrupted():
                            raise KeyboardInterrupt
                self._finish_epoch(epoch)
                if interrupted():
                    raise KeyboardInterrupt

    def _begin(self, tensors: Mapping[str, Tensor]) -> None:
        views = range(min(self._batches.recipe.views, self._settings.epochs))
        self._objective.prepare(self._batches, views)
        modules = self._objective.modules.to(self._accelerator.device)
        modules.train()
        optimizer = build_optimizer(self._model, modules, self._settings)
        average = Average(self._model, self._settings.ema) if self._settings.ema else None
        self._state = State(self._model, modules, optimizer, average)
        if tensors:
            self._state.load(tensors)
        self._optimizer = self._accelerator.prepare(optimizer)
        self._saved = time.perf_counter()

    def _step(self, batch: Batch, tracker: Tracker) -> None:
        step = self._position.step
        torch.manual_seed(derive(self._seed, "step", step))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(step)
        if self._on_progress:
            self._on_progress(self._model, step / self.total_steps)
        loss, terms = self._objective(self._run, batch, step, self.total_steps)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        self._optimizer.zero_grad()
        self._accelerator.backward(loss)
        self._optimizer.step()
        if self._state.average:
            self._state.average.update(self._model, step)
        self._position.add({"loss": value} | {name: term.item() for name, term in terms.items()})
        tracker.advance(1, f"loss {value:.3f}")

    def _finish_epoch(self, epoch: int) -> None:
        position, average = self._position, self._state.average
        with average.applied(self._model) if average else nullcontext():
            val = evaluate(self._model, self._data.val, self._data.preprocessing, precision=self._settings.precision)
            if position.best is None or val > position.best:
                position.best = val
                position.best_sha256 = save_tensors(self._model.state_dict(), self._folder / BEST)
        means = position.means(len(self._batches))
        record = {"epoch": epoch + 1, "loss": means.pop("loss"), "terms": means, "val": val}
        position.history.append(record | {"learning_rate": self._rate(position.step - 1)})
        self._save()
        write_json(self._folder / HISTORY, position.history)
        self._reporter.event("epoch", stage=self._folder.name, **position.history[-1])

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.total_steps, self._settings.learning_rate, self._settings.warmup)

    def _due(self) -> bool:
        return time.perf_counter() - self._saved > CHECKPOINT_SECONDS

    def _save(self) -> None:
        if not self._state.finite():
            raise self._diverged("a weight is not finite")
        now = time.perf_counter()
        self._position.seconds += now - self._saved
        self._saved = now
        save_checkpoint(self._folder, self._key, self._position, self._state.tensors())

    def _diverged(self, what: str) -> PromiseBrokenError:
        epoch = self._position.step // len(self._batches) + 1
        checkpoint = self._folder / JSON
        last = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"
        return PromiseBrokenError(f"training diverged in epoch {epoch}, step {self._position.step}: {what}; {last}")
