"""What a run costs, from one in miniature: seconds by stage, bytes on disk and in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from edgekd.backends import find_backend
from edgekd.data.dataset import Dataset
from edgekd.pipeline.parity_evidence import PARITY_INPUTS
from edgekd.pipeline.plan import deployment_of, settings_for
from edgekd.pipeline.stopwatch import Span
from edgekd.recipe import Recipe
from edgekd.reporting.dry_run import Seconds, StageRow
from edgekd.target import Target

if TYPE_CHECKING:
    from edgekd.pipeline.trial import Trial

FORWARD = 1 / 3  # of a training step's time
PASSES = 3  # of the reference over the samples that calibrate: ranges, bias correction, what each layer loses
STARTS = 3  # of a variant's process beside those that time it: parity, and the metric on two splits


@dataclass(frozen=True)
class Price:
    """Seconds by stage, as `plan.describe` names them; bytes in the run folder while it runs, and of memory."""

    seconds: dict[str, Span | None]
    disk_bytes: int
    cache_bytes: int
    memory_bytes: int = 0

    def added_to(self, stage: StageRow) -> StageRow:
        """Return a stage with its seconds, if they are known."""
        known = self.seconds.get(stage["stage"])
        return stage if known is None else {**stage, "seconds": told(known)}


def told(span: Span) -> Seconds:
    """Seconds from low to high, as a document has them."""
    return {"low": round(span.low, 1), "high": round(span.high, 1)}


def price_of(recipe: Recipe, data: Dataset, targets: Sequence[Target], trial: "Trial") -> Price:
    """Scale what a trial took to the whole data, all epochs and full batches."""
    seconds: dict[str, Span | None] = {}
    for number, teacher in enumerate(recipe.teachers):
        name = f"teacher-{number}" if number else "teacher"
        seconds[name] = _training(trial, name, teacher.training.epochs, teacher.training.batch, data)
    student = recipe.student.training
    seconds["scratch"] = Span() if recipe.control else _training(trial, "scratch", student.epochs, student.batch, data)
    views = min(recipe.data.views, student.epochs) if recipe.data.augmentation else 1
    asked = (trial.clock.span("asking the teacher, view 0") or Span()) * (views * len(data.train))
    taught = _training(trial, "student", student.epochs, student.batch, data)
    seconds["student"] = None if taught is None else taught + asked
    for number in range(1, trial.generations):
        taught = _training(trial, f"generation-{number}", student.epochs, student.batch, data)
        seconds[f"generation-{number}"] = None if taught is None else taught + asked
    scored = trial.reference * (len(data.test) - trial.tested)
    exported = trial.clock.parts.get("export float")
    seconds["export float"] = None if exported is None else exported + scored
    for scheme in dict.fromkeys(target.scheme for target in targets):
        quantised = _quantising(recipe, scheme, targets, data, trial)
        seconds[f"quantise {scheme}"] = None if quantised is None else quantised + scored
    for target, seed in product(targets, range(recipe.seed, recipe.seed + recipe.seeds)):
        deployed = _deployment(recipe, target, data, trial, timed=seed == recipe.seed)
        seconds[deployment_of(recipe, target, seed)] = deployed
    cache = trial.answer_bytes * views * len(data.train)
    cache = 0 if cache > recipe.cache.limit_gb * 1e9 else cache
    return Price(seconds, cache + trial.kept_bytes * recipe.seeds, cache, trial.memory_bytes)


def _training(trial: "Trial", name: str, epochs: int, batch: int, data: Dataset) -> Span | None:
    """A training and looking at its validation split after each epoch."""
    if not epochs:
        return Span()
    step = trial.clock.span(f"training {name}")
    if step is None:
        return None
    batch = min(batch, len(data.train))
    step *= 1 / trial.shrunk if batch > 1 else 1.0
    steps = epochs * max(1, len(data.train) // batch)
    return step * (steps + FORWARD * (epochs * len(data.val) + len(data.test)) / batch)


def _quantising(recipe: Recipe, scheme: str, targets: Sequence[Target], data: Dataset, trial: "Trial") -> Span | None:
    """A fine-tune where there is one, calibration, and what was once tried of both."""
    settings, once = settings_for(recipe, scheme, targets), trial.clock.parts.get(f"quantise {scheme}")
    tuned = _training(trial, scheme, settings.epochs, settings.batch, data)
    if once is None or tuned is None:
        return None
    return once + tuned + trial.reference * (PASSES * max(0, settings.calibration - trial.calibrated))


def _deployment(recipe: Recipe, target: Target, data: Dataset, trial: "Trial", timed: bool) -> Span | None:
    """Compiling and, where there is a device, proving and timing each variant in fresh processes."""
    parts, replicates = trial.clock.parts, recipe.benchmark.replicates if timed else 0
    compiled = parts.get(f"target {target.name}")
    if compiled is None or target.name not in recipe.devices:
        return compiled
    start = parts.get(f"device {target.name}")
    if start is None:
        return compiled if target.name in recipe.optional else None
    variants = 2 + len(getattr(find_backend(target.backend), "FLOAT_VARIANTS", {}))
    proven = trial.reference * (2 * min(PARITY_INPUTS, len(data.val)))
    lasting = Span(recipe.benchmark.seconds, recipe.benchmark.seconds) * replicates
    return compiled + proven + (start * (STARTS + replicates) + lasting) * variants


def amount(count: float) -> str:
    """Bytes as people say them, in powers of 1000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"
