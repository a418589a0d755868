"""A recipe before it runs: everything that can be checked in under a minute, all faults at once, and what it costs."""

import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.backends import find_backend
from edgekd.data.augment import check_names
from edgekd.data.dataset import Dataset
from edgekd.devices import open_device
from edgekd.errors import DeviceError, MissingExtraError
from edgekd.measure.readiness import examine
from edgekd.pipeline.faults import Faults, forgiven
from edgekd.pipeline.plan import describe, load_data, with_names
from edgekd.pipeline.price import Price, amount, price_of, told
from edgekd.pipeline.recipe_faults import read_leniently
from edgekd.pipeline.stages import require_remembered
from edgekd.pipeline.stopwatch import Span, Stopwatch
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Recipe
from edgekd.reporting.dry_run import DryRun, StageRow
from edgekd.target import Target, load_target
from edgekd.tasks import spec_of

if TYPE_CHECKING:
    from edgekd.pipeline.trial import Trial

SECONDS = 50.0
MOST_MEMORY = 0.9  # of what the machine has


def dry_run(
    name: str,
    overrides: Sequence[str],
    folder: Path,
    *,
    code: bool = True,
    any_range: bool = False,
    fresh: bool = False,
    reuse: Collection[str] = (),
    seconds: float = SECONDS,
) -> DryRun:
    """Return what was checked, every fault, doubts, and the stages with their price; leaves nothing behind.

    `fresh` and `reuse` are what the run is to be asked for. After `seconds` nothing new is tried.
    Raises BadInputError for a recipe that cannot be read at all.
    """
    faults, stages = Faults(seconds), list[StageRow]()
    recipe = read_leniently(name, overrides, faults, code=code)
    if not (place := _nearest(folder)).is_dir():
        faults.add("out", f"{place} is a file, not a folder")
    if reuse:
        faults.attempt("reuse", partial(require_remembered, folder, reuse, fresh), lambda _: ", ".join(reuse))
    if recipe is not None:
        found = _targets(recipe, faults)
        targets = [*found.values()]
        recipe = faults.attempt("recipe", partial(with_names, recipe, found), _unlisted) or recipe
        stages = describe(recipe, targets)
        reachable = _reachable(recipe, targets, faults)
        data = _data(recipe, faults, any_range)
        trial = _trial(recipe, data, targets, reachable, faults)
        if data is not None and trial is not None:
            price = price_of(recipe, data, targets, trial)
            check_room(price, folder, faults)
            stages = [price.added_to(stage) for stage in describe(recipe, targets, trial.generations)]
    return _document(name, faults, stages)


def _document(name: str, faults: Faults, stages: list[StageRow]) -> DryRun:
    known = [Span(**stage["seconds"]) for stage in stages if "seconds" in stage]
    return {
        "recipe": name,
        "faults": faults.faults,
        "warnings": faults.warnings,
        "checked": faults.found,
        "stages": stages,
        "seconds": told(sum(known, Span())) if known and len(known) == len(stages) - _free(stages) else None,
    }


def _free(stages: list[StageRow]) -> int:
    return sum(stage["stage"] == "code" for stage in stages)


def _targets(recipe: Recipe, faults: Faults) -> dict[str, Target]:
    """Those of the recipe's targets that there are, by what it calls them."""
    found = {name: faults.attempt(f"target {name}", partial(_target, name), _unlisted) for name in recipe.targets}
    return {name: target for name, target in found.items() if target is not None}


def _target(name: str) -> Target:
    target = load_target(name)
    find_backend(target.backend)
    find_scheme(target.scheme)
    return target


def _reachable(recipe: Recipe, targets: list[Target], faults: Faults) -> list[str]:
    """The devices that answer and have what their targets need."""
    pairs = [(target, recipe.devices[target.name]) for target in targets if target.name in recipe.devices]

    def answers(uri: str, target: Target) -> bool | None:
        part, spared = f"device {uri} for {target.name}", forgiven(recipe, target.name)
        return faults.attempt(part, partial(_examined, uri, target), optional=spared)

    states = [(uri, answers(uri, target)) for target, uri in pairs]
    return sorted({uri for uri, ready in states if ready} - {uri for uri, ready in states if not ready})


def _examined(uri: str, target: Target) -> bool:
    with closing(open_device(uri)) as device:
        found = examine(device, target)
    lacking = [f"{row['component']} is missing: {row['get it']}" for row in found["components"] if row["get it"]]
    if not found["ready"]:
        raise DeviceError("; ".join(lacking) or f"{uri} is not ready for {target.name}")
    return True


def _data(recipe: Recipe, faults: Faults, any_range: bool) -> Dataset | None:
    settings, listener = recipe.data, Stopwatch()
    if faults.attempt("data", partial(_names_checked, settings.augmentation), lambda _: "") is None:
        settings = settings.model_copy(update={"augmentation": ()})
    read = partial(load_data, recipe.model_copy(update={"data": settings}), any_range, listener)
    data = faults.attempt("data", read, _seen)
    for warning in listener.warnings:
        faults.warn("data", warning)
    return data


def _names_checked(augmentation: tuple[str, ...]) -> bool:
    check_names(augmentation)
    return True


def _seen(data: Dataset) -> str:
    counts = ", ".join(f"{len(getattr(data, part)):,} {part}" for part in ("train", "val", "test"))
    kind = f"{len(data.classes)} classes" if data.classes else spec_of(data.task).name
    return f"{counts}; {kind}; inputs {data.train.inputs.dtype} {data.train.inputs.shape[1:]}"


def _trial(
    recipe: Recipe, data: Dataset | None, targets: list[Target], reachable: list[str], faults: Faults
) -> "Trial | None":
    def work() -> "Trial | None":
        try:
            from edgekd.pipeline.trial import try_names, try_run
        except ModuleNotFoundError as error:
            raise MissingExtraError("train") from error
        if data is None:
            try_names(recipe, faults)
            return None
        with tempfile.TemporaryDirectory(prefix="edgekd-dry-run-") as folder:
            return try_run(recipe, data, targets, reachable, Path(folder), faults)

    return faults.attempt("trial", work, _unlisted)


def _unlisted(_: object) -> str:
    """What is listed when it is tried, part by part."""
    return ""


def _nearest(folder: Path) -> Path:
    """What there is of a folder and those that it is in."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_room(price: Price, folder: Path, faults: Faults) -> None:
    """Note what a run needs of disk and memory; a fault where that is more than there is."""
    place = _nearest(folder)
    free = shutil.disk_usage(place).free
    told = f"{amount(price.disk_bytes)} ({amount(price.cache_bytes)} of it for the teacher's outputs)"
    if not price.disk_bytes:
        return
    if price.disk_bytes > free:
        advice = "set cache.top_k, take fewer data.views, or choose another --out"
        faults.add("disk", f"needs about {told}, {place} has {amount(free)} free: {advice}")
    else:
        faults.found.append({"part": "disk", "found": f"needs about {told}; {amount(free)} free"})
    used = price.memory_bytes
    if not used:
        return
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if used > MOST_MEMORY * has:
        faults.add("memory", f"needs about {amount(used)}, this machine has {amount(has)}: use smaller batches")
    else:
        faults.found.append({"part": "memory", "found": f"needs about {amount(used)}; {amount(has)} in all"})
