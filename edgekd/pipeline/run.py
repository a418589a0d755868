"""the whole run: a recipe in, a run folder out. The same command continues what was interrupted."""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import BadInputError, DeviceError, MissingExtraError, NotProvenError, PromiseBrokenError
from edgekd.files import needs_room
from edgekd.locks import lock
from edgekd.pipeline.finished import FILES, FINISHED, own_folders, recall
from edgekd.pipeline.plan import load_targets, with_names
from edgekd.pipeline.stages import Stages, require_remembered
from edgekd.progress import SILENT, Reporter
from edgekd.recipe import Recipe
from edgekd.reporting.run_record import RunRecord

UNPROVEN = ("unverified", "skipped")
LOCK = ".lock"
_LAUNCHED = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "ACCELERATE_USE_CPU"}  # one of several processes, or meant to be


@dataclass(frozen=True)
class Outcome:
    """A finished run; `broken` are the promises that did not hold, `lost` the devices that did not answer.

    `unproven` are the targets that nothing could prove although the recipe names a device for them.
    """

    run: RunRecord
    broken: tuple[str, ...]
    lost: tuple[str, ...]
    unproven: tuple[str, ...]

    def raise_for_promises(self) -> None:
        """Raise PromiseBrokenError, DeviceError or NotProvenError, if there is reason to."""
        failures = ((PromiseBrokenError, self.broken), (DeviceError, self.lost), (NotProvenError, self.unproven))
        for kind, reasons in failures:
            if reasons:
                raise kind("; ".join(reasons))


def run_recipe(
    recipe: Recipe,
    folder: Path,
    reporter: Reporter,
    *,
    fresh: bool = False,
    strict: bool = False,
    any_range: bool = False,
    reuse: Sequence[str] = (),
) -> Outcome:
    """Run all stages of a recipe in `folder`; `fresh` forgets earlier ones, `strict` breaks on unproven targets.

    The remembered results of the stages in `reuse` are taken as they are, whatever has changed since.
    Raises BadInputError for what the recipe names wrongly, or a folder that another run is using. Of several processes
    all train; the main one alone does the rest.
    """
    targets = load_targets(recipe)
    recipe = with_names(recipe, dict(zip(recipe.targets, targets, strict=True)))
    if not (fresh or reuse or _LAUNCHED & os.environ.keys() or not (folder / FINISHED).exists()):
        with alone(folder, fresh=False):
            run = recall(recipe, targets, folder, reporter, any_range)
        if run is not None:
            reporter.say("nothing has changed since it finished: all stands as it is")
            return _outcome(run, strict)
    try:
        from edgekd.pipeline.seeds import run_seeds
        from edgekd.training.processes import process_group
    except ModuleNotFoundError as error:
        raise MissingExtraError("train") from error
    group = process_group()
    reporter = reporter if group.is_main else SILENT
    with ExitStack() as held:
        group.run_on_main(lambda: require_remembered(folder, reuse, fresh))
        group.run_on_main(lambda: held.enter_context(alone(folder, fresh)))
        stages = Stages(folder, reporter, group=group, reuse=reuse)
        group.run_on_main(lambda: (folder / FINISHED).unlink(missing_ok=True))
        run, lost = run_seeds(recipe, targets, stages, reporter, any_range)
    return _outcome(run, strict, lost)


def _outcome(run: RunRecord, strict: bool, lost: Collection[str] = ()) -> Outcome:
    reasons = {name: f"{name}: {entry.reason}" for name, entry in run.targets.items()}
    bad = {"failed", "fallback", *(UNPROVEN if strict else ())}
    broken = [reasons[name] for name, entry in run.targets.items() if entry.status in bad and name not in lost]
    asked = {name: entry for name, entry in run.targets.items() if entry.device is not None}
    unproven = [reasons[name] for name, entry in asked.items() if entry.status in UNPROVEN]
    return Outcome(run, tuple(broken), tuple(reasons[name] for name in sorted(lost)), tuple(unproven))


@contextmanager
def alone(folder: Path, fresh: bool) -> Iterator[None]:
    """Hold the run folder: two runs in it would take turns at each other's checkpoints."""
    with needs_room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / LOCK).open("w")
    with held:
        try:
            lock(held.fileno(), wait=False)
        except BlockingIOError as error:
            raise BadInputError(f"{folder}: another run is at work in it") from error
        if fresh:
            _clear(folder)
        _sweep(folder)
        yield


def _clear(folder: Path) -> None:
    for path in own_folders(folder):
        shutil.rmtree(path, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed run was about to write: hidden siblings of its own files, as in `.run.json.3f8a`."""
    leftovers = [path for own in own_folders(folder) for path in own.rglob(".*.*")]
    for path in leftovers + [path for name in FILES for path in folder.glob(f".{name}.*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
