"""What a run costs, from one in miniature: seconds by stage, and bytes on disk."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekd.backends import find_backend
from edgekd.data.dataset import Dataset
from edgekd.recipe import Recipe
from edgekd.target import Target

if TYPE_CHECKING:
    from edgekd.pipeline.trial import Trial

FORWARD = 1 / 3  # of a training step's time
START = 1.0  # seconds until a fresh process has loaded a model


@dataclass(frozen=True)
class Price:
    """Seconds by stage, as `plan.describe` names them; bytes that stay in the run folder while it runs."""

    seconds: dict[str, float | None]
    disk_bytes: int
    cache_bytes: int

    def of(self, stage: str) -> dict[str, Any]:
        """Return a stage's seconds, if they are known."""
        known = self.seconds.get(stage)
        return {} if known is None else {"seconds": round(known, 1)}


def price_of(recipe: Recipe, data: Dataset, targets: list[Target], trial: "Trial") -> Price:
    """Scale what a trial took to the whole data, all epochs and full batches."""
    seconds: dict[str, float | None] = {}
    for number, teacher in enumerate(recipe.teachers):
        name = f"teacher-{number}" if number else "teacher"
        seconds[name] = _training(trial, name, teacher.training.epochs, teacher.training.batch, data)
    student = recipe.student.training
    seconds["scratch"] = 0.0 if recipe.control else _training(trial, "scratch", student.epochs, student.batch, data)
    views = min(recipe.data.views, student.epochs) if recipe.data.augmentation else 1
    asked = trial.clock.seconds("asking the teacher, view 0") or 0.0
    taught = _training(trial, "student", student.epochs, student.batch, data)
    seconds["student"] = None if taught is None else taught + asked * views * len(data.train)
    seconds["export float"] = trial.seconds.get("export-float")
    settings = recipe.quantization
    for scheme in dict.fromkeys(target.scheme for target in targets):
        once = trial.seconds.get(f"quantise-{scheme}")
        tuned = _training(trial, scheme, settings.epochs, settings.batch, data) if settings.epochs else 0.0
        seconds[f"quantise {scheme}"] = None if once is None or tuned is None else once + tuned
    for target in targets:
        seconds[f"target {target.name}"] = _deployment(recipe, target, trial)
    cache = trial.answer_bytes * views * len(data.train)
    cache = 0 if cache > recipe.cache.limit_gb * 1e9 else cache
    return Price(seconds, cache + trial.kept_bytes * recipe.seeds, cache)


def _training(trial: "Trial", name: str, epochs: int, batch: int, data: Dataset) -> float | None:
    """Seconds of a training and of looking at its validation split after each epoch."""
    step = trial.clock.seconds(f"training {name}")
    if step is None:
        return None
    batch = min(batch, len(data.train))
    step /= trial.shrunk if batch > 1 else 1.0
    steps = epochs * max(1, len(data.train) // batch)
    return step * (steps + FORWARD * (epochs * len(data.val) + len(data.test)) / batch)


def _deployment(recipe: Recipe, target: Target, trial: "Trial") -> float | None:
    """Seconds to compile and, where there is a device, to measure each variant in fresh processes."""
    compiled, timed = trial.seconds.get(f"target {target.name}"), recipe.benchmark
    if compiled is None or target.name not in recipe.devices:
        return compiled
    variants = 2 + len(getattr(find_backend(target.backend), "FLOAT_VARIANTS", {}))
    return compiled + variants * timed.replicates * (timed.seconds + START)


def amount(count: float) -> str:
    """Bytes as people say them, in powers of 1000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"
