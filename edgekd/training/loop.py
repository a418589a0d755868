"""The one training loop: teachers, students and quantisation-aware fine-tuning all pass through it."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.data.dataset import Dataset
from edgekd.data.sources import Rows
from edgekd.data.streams import Stream
from edgekd.errors import BadInputError, DamagedError, PromiseBrokenError
from edgekd.files import write_json
from edgekd.networks import at_rest, train_but
from edgekd.progress import SILENT, Reporter, Tracker
from edgekd.recipe import Data, Training
from edgekd.training.accumulate import Losses, accumulate_gradients, micro_batches
from edgekd.training.average import Average
from edgekd.training.batches import Batch, Batches
from edgekd.training.checkpoint import JSON, Position, load_checkpoint, save_checkpoint
from edgekd.training.curves import Curves, NoCurves
from edgekd.training.determinism import repeatable
from edgekd.training.evaluate import evaluate
from edgekd.training.interrupts import deferred_interrupts
from edgekd.training.objectives import Objective
from edgekd.training.optimizer import build_optimizer
from edgekd.training.precision import place_model, runner
from edgekd.training.processes import process_group
from edgekd.training.schedule import learning_rate
from edgekd.training.seeding import derive
from edgekd.training.state import BEST, State, part
from edgekd.training.weights import save_tensors

WEIGHTS, HISTORY = "best.safetensors", "history.json"
CHECKPOINT_SECONDS = 30.0

OnProgress = Callable[[nn.Module, float], None]


@dataclass(frozen=True)
class Trained:
    """What to deploy, its validation metric, one record per epoch, and the seconds spent over all resumed runs."""

    model: nn.Module = field(compare=False)
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
    """Train `model` in place and return what to deploy, with the weights that were best on the validation split.

    Continues from `folder`'s checkpoint when that has the same `key`, and at one thread reaches bit-equal weights.
    `on_progress(model, fraction)` is called before every step, in training mode; what it does may depend on the
    fraction of steps done alone. Raises PromiseBrokenError when the loss is no longer finite; Ctrl-C saves a checkpoint
    and raises KeyboardInterrupt. Several processes (`training.processes`) all call this and get the same; the main one
    alone writes and reports.
    """
    if not settings.epochs:
        raise BadInputError("epochs: a training needs at least one")
    reporter = reporter if process_group().is_main else SILENT
    if isinstance(data.train.inputs, Rows) and data.train.inputs.unstable:
        reporter.say(f"the numbers of this run cannot be repeated to the bit: {data.train.inputs.unstable}")
    position, tensors = _where_it_stands(folder, key, reporter)
    session = _Session(
        model, data, recipe_data, settings, objective, folder, seed, key, reporter, on_progress, position
    )  # fmt: skip
    if position.step < session.total_steps:
        tensors = session.learn(tensors)
    best, network = part(tensors, BEST), objective.deploy(model)
    process_group().run_on_main(lambda: _write_outputs(folder, best, position.history))
    network.load_state_dict(best)
    return Trained(network, position.best or 0.0, tuple(position.history), position.seconds)


def _where_it_stands(folder: Path, key: str, reporter: Reporter) -> tuple[Position, dict[str, Tensor]]:
    """Return the last checkpoint, or the beginning where there is none that can be trusted."""
    try:
        return load_checkpoint(folder, key) or (Position(), {})
    except DamagedError as error:
        reporter.say(f"{error}: training starts over")
        return Position(), {}


def _write_outputs(folder: Path, best: dict[str, Tensor], history: list[dict[str, Any]]) -> None:
    """Replace what an earlier training left, now that all of the new is known and safe in the last checkpoint."""
    save_tensors(best, folder / WEIGHTS)
    write_json(folder / HISTORY, history)


@dataclass(eq=False)
class _Session:
    """One process's share of a training."""

    model: nn.Module
    data: Dataset
    recipe_data: Data
    settings: Training
    objective: Objective
    folder: Path
    seed: int
    key: str
    reporter: Reporter
    on_progress: OnProgress | None
    position: Position

    def __post_init__(self) -> None:
        self._group, device, train = process_group(), process_group().device, self.data.train
        self._resting = at_rest(self.model)
        place_model(self.model, device, train.inputs.ndim)
        self._run = runner(self.model, self.settings.precision, device)
        given = train.inputs.batch if isinstance(train.inputs, Stream) else self.settings.batch
        size = min(given, len(train))
        self._batches = Batches(
            self.data, self.recipe_data, size, self.seed, device, self._group.number, self._group.size
        )  # fmt: skip
        self._rows = size - size % self.data.group_size
        if self._rows < self._group.size * self.data.group_size:
            raise BadInputError(f"a batch of {size} samples is too small for {self._group.size} processes")
        self.total_steps = self.settings.epochs * len(self._batches)
        self.objective.build(self._batches)

    def learn(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the remaining steps from a saved state, if there is one, to the last."""
        self._begin(tensors)
        position, steps = self.position, len(self._batches)
        title = f"training {self.folder.name}"
        with (
            repeatable(self._group.device),
            deferred_interrupts() as interrupted,
            self.reporter.track(title, self.total_steps, position.step) as tracker,
        ):
            while position.step < self.total_steps:
                epoch, start = divmod(position.step, steps)
                train_but(self.model, self._resting)
                for batch in self._batches.epoch(epoch, start):
                    stop, due = self._step(batch, tracker, interrupted)
                    if position.step % steps and (stop or due):
                        self._save()
                        if stop:
                            raise KeyboardInterrupt
                self._finish_epoch(epoch)
                if self._group.any(interrupted()):
                    raise KeyboardInterrupt
        return self._state.tensors()

    def _begin(self, tensors: Mapping[str, Tensor]) -> None:
        views = range(min(self.recipe_data.views, self.settings.epochs))
        self._group.main_first(lambda: self.objective.prepare(self._batches, views))
        modules = self.objective.modules.to(self._group.device)
        modules.train()
        self._optimizer = build_optimizer(self.model, modules, self.settings)
        self._network = self.objective.deploy(self.model)
        average = Average(self._network, self.settings.ema) if self.settings.ema else None
        self._state = State(self.model, modules, self._optimizer, average)
        if tensors:
            self._state.load(tensors)
        self._group.share([*self.model.parameters(), *modules.parameters(), *self._buffers()])
        self._curves = Curves(self.folder, self.position.step) if self.reporter.tensorboard else NoCurves()
        self._saved = time.perf_counter()

    def _step(self, batch: Batch, tracker: Tracker, interrupted: Callable[[], bool]) -> tuple[bool, bool]:
        """Take a step; return whether some process is interrupted, and whether a checkpoint is due."""
        step = self.position.step
        self._set_out(step)
        shares = self._backward(batch)
        votes = float(interrupted()), float(self._due())
        *totals, stop, due = self._group.sum_gradients(self._parameters(), [*shares.values(), *votes])
        losses = dict(zip(shares, totals, strict=True))
        self._check(losses)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self._parameters(), self.settings.clip)
        self._optimizer.step()
        self._group.share(self._buffers())
        if self._state.average:
            self._state.average.update(self._network, step)
        self._curves.step(step, losses)
        self.position.add(losses)
        tracker.advance(1, f"loss {losses['loss']:.3f}")
        return stop > 0, due > 0

    def _set_out(self, step: int) -> None:
        """All that a step depends on besides its batch; dropout differs between processes as between samples."""
        number = self._group.number
        torch.manual_seed(derive(self.seed, "step", step, *([number] if number else [])))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(step)
        if self.on_progress:
            self.on_progress(self.model, step / self.total_steps)
        self._optimizer.zero_grad()

    def _backward(self, batch: Batch) -> Losses:
        """Leave this process's part of the step's gradients; return its part of the loss and its terms."""
        pieces = micro_batches(batch, self.settings.accumulate, self.data.group_size)
        step, total = self.position.step, self.total_steps
        return accumulate_gradients(pieces, self._rows, lambda piece: self.objective(self._run, piece, step, total))

    def _check(self, losses: Mapping[str, float]) -> None:
        for name in sorted(losses, key="loss".__eq__):  # a term before the sum that it spoils
            if not math.isfinite(losses[name]):
                what = "the loss" if name == "loss" else f"the term {name}"
                raise self._diverged(f"{what} is {losses[name]}")

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _buffers(self) -> list[Tensor]:
        return [*self.model.buffers(), *self.objective.modules.buffers()]

    def _finish_epoch(self, epoch: int) -> None:
        position, average, network = self.position, self._state.average, self._network
        with average.applied(network) if average else nullcontext():
            val = self._group.run_on_main(
                lambda: evaluate(network, self.data, self.data.val, precision=self.settings.precision)
            )
            if not math.isfinite(val):
                raise self._diverged(f"{self.data.metric.name} on validation is {val}")
            if position.best is None or self.data.metric.gain(val, position.best) > 0:
                position.best = val
                self._state.keep_best(network)
        means = position.means(len(self._batches))
        record = {"epoch": epoch + 1, "loss": means.pop("loss"), "terms": means, "val": val}
        position.history.append(record | {"learning_rate": self._rate(position.step - 1)})
        self._save()
        self._curves.epoch(position.step - 1, position.history[-1])
        self.reporter.event("epoch", stage=self.folder.name, **position.history[-1])

    def _rate(self, step: int) -> float:
        settings = self.settings
        return learning_rate(step, self.total_steps, settings.learning_rate, settings.warmup, settings.schedule)

    def _due(self) -> bool:
        return time.perf_counter() - self._saved > CHECKPOINT_SECONDS

    def _save(self) -> None:
        if not self._state.finite():
            raise self._diverged("a weight is not finite")
        now = time.perf_counter()
        self.position.seconds += now - self._saved
        self._saved = now
        tensors = self._state.tensors()
        self._group.run_on_main(lambda: save_checkpoint(self.folder, self.key, self.position, tensors))

    def _diverged(self, what: str) -> PromiseBrokenError:
        epoch = self.position.step // len(self._batches) + 1
        checkpoint = self.folder / JSON
        last = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"
        return PromiseBrokenError(f"training diverged in epoch {epoch}, step {self.position.step}: {what}; {last}")
