"""the whole run: a recipe in, a run folder out. The same command continues what was interrupted."""

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgekd.data import load
from edgekd.data.dataset import Dataset
from edgekd.devices import open_device
from edgekd.errors import BadInputError, DeviceError, EdgekdError, NotProvenError, PromiseBrokenError
from edgekd.files import needs_room, write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.deploy import DeployContext, deploy
from edgekd.pipeline.learn import Learned, StageContext, control, distil, teach
from edgekd.pipeline.methods import with_parameters
from edgekd.pipeline.origin import versions
from edgekd.pipeline.plan import load_targets
from edgekd.pipeline.quantise import float_graph, quantise, rehearse
from edgekd.pipeline.stages import Stages
from edgekd.pipeline.summary import FLOAT_GRAPH, SeedResult, recipe_digest, summarise
from edgekd.pipeline.variants import FLOAT
from edgekd.progress import SILENT, Reporter
from edgekd.quantization.scheme import schemes_of
from edgekd.recipe import Recipe
from edgekd.reporting.html import REPORT, RUN, write_report
from edgekd.target import Target
from edgekd.tasks import find_task
from edgekd.training.processes import process_group
from edgekd.training.state_dicts import read_state_dicts

# All that a run writes; nothing else in its folder is ever touched.
FOLDERS = (
    "stages",
    "teacher",
    "teacher-[0-9]*",
    "generation-[0-9]*",
    "scratch",
    "student",
    "qat",
    "onnx",
    "bundles",
    "timings",
    "seeds",
)
UNPROVEN = ("unverified", "skipped")
FILES = (RUN, REPORT, "results.jsonl", "events.jsonl")
LOCK = ".lock"


@dataclass(frozen=True)
class Outcome:
    """A finished run; `broken` are the promises that did not hold, `lost` the devices that did not answer.

    `unproven` are the targets that nothing could prove although the recipe names a device for them.
    """

    run: dict[str, Any]
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
    targets, group = load_targets(recipe), process_group()
    reporter = reporter if group.is_main else SILENT
    torch.set_num_threads(recipe.threads)
    with ExitStack() as held:
        group.run_on_main(lambda: held.enter_context(alone(folder, fresh)))
        stages = Stages(folder, reporter, group=group, reuse=reuse)
        group.run_on_main(stages.require_remembered)
        _read_checkpoints(recipe)
        task = find_task(recipe.task.name, recipe.task.options) if recipe.task else None
        data = load(recipe.data, recipe.seed, task=task, any_range=any_range, reporter=reporter)
        context = StageContext(recipe, data, recipe.seed, stages, reporter)
        rehearse(context, schemes_of(targets))
        teachers = teach(context)
        results = []
        for seed in range(recipe.seed, recipe.seed + recipe.seeds):
            with _naming(seed, recipe.seeds):
                own = _stages_of(seed, recipe, stages)
                results.append(_run_seed(recipe, data, targets, teachers, seed, own, reporter))
        run = group.run_on_main(lambda: _record(recipe, data, teachers, results, stages))
    return _outcome(run, results, strict)


def _read_checkpoints(recipe: Recipe) -> None:
    """Fail on a file of weights that cannot be read before data are prepared for it."""
    for path in (*(model.checkpoint for model in recipe.teachers), recipe.control):
        if path is not None:
            read_state_dicts(Path(path))


def _record(
    recipe: Recipe, data: Dataset, teachers: list[Learned], results: list[SeedResult], stages: Stages
) -> dict[str, Any]:
    """Write `run.json` and the report."""
    with closing(open_device("local:")) as host:
        machine = machine_facts(host).model_dump(mode="json")
    methods, records = with_parameters(recipe.distillation), [teacher.record for teacher in teachers]
    run = summarise(recipe, data, methods, records, results, machine, stages.log)
    write_json(stages.folder / RUN, run)
    write_report(stages.folder)
    return run


@contextmanager
def _naming(seed: int, seeds: int) -> Iterator[None]:
    """Let what fails say for which of several seeds."""
    try:
        yield
    except EdgekdError as error:
        if seeds > 1:
            error.args = (f"seed {seed}: {error}",)
        raise


def _stages_of(seed: int, recipe: Recipe, stages: Stages) -> Stages:
    """The first seed lives in the run folder itself, the others below it; all write one log."""
    if seed == recipe.seed:
        return stages
    folder, prefix = stages.folder / "seeds" / str(seed), f"seed {seed}: "
    return Stages(folder, stages.reporter, stages.log, prefix, stages.group, stages.reuse)


def _run_seed(
    recipe: Recipe,
    data: Dataset,
    targets: list[Target],
    teachers: list[Learned],
    seed: int,
    stages: Stages,
    reporter: Reporter,
) -> SeedResult:
    """One seed's student and its bundles; only the first seed is timed."""
    context, cache = StageContext(recipe, data, seed, stages, reporter), teachers[0].folder / "answers"
    scratch, student = control(context, teachers[0]), distil(context, teachers, cache)
    if recipe.length is not None:
        data = data.of_length(recipe.length)
        context = replace(context, data=data)
    graph, quantized = float_graph(context, student), {}
    graphs = {FLOAT: context.folder / FLOAT_GRAPH}
    for scheme in schemes_of(targets):
        quantized[scheme.name] = quantise(context, student, teachers, scheme, cache)
        graphs[scheme.name] = context.folder / "onnx" / f"{scheme.name}.onnx"
    # augmented, every seed sees other pixels
    stages.group.run_on_main(lambda: shutil.rmtree(cache, ignore_errors=True))
    provenance = {"recipe_sha256": recipe_digest(recipe), "versions": versions(), "seed": seed}
    shipping = DeployContext(recipe, data, stages, reporter, graphs, provenance)
    references = {FLOAT: graph["test"], **{name: record["test"] for name, record in quantized.items()}}
    entries = stages.group.run_on_main(
        lambda: {target.name: deploy(shipping, target, references, timed=seed == recipe.seed) for target in targets}
    )
    return SeedResult(seed, scratch.record, student.record, graph, quantized, entries)


def _outcome(run: dict[str, Any], seeds: list[SeedResult], strict: bool) -> Outcome:
    lost = {name for result in seeds for name, entry in result.targets.items() if entry.get("lost")}
    reasons = {name: f"{name}: {entry.get('reason')}" for name, entry in run["targets"].items()}
    bad = {"failed", "fallback", *(UNPROVEN if strict else ())}
    broken = [reasons[name] for name, entry in run["targets"].items() if entry["status"] in bad and name not in lost]
    asked = {name: entry for name, entry in run["targets"].items() if entry["device"] is not None}
    unproven = [reasons[name] for name, entry in asked.items() if entry["status"] in UNPROVEN]
    return Outcome(run, tuple(broken), tuple(reasons[name] for name in sorted(lost)), tuple(unproven))


@contextmanager
def alone(folder: Path, fresh: bool) -> Iterator[None]:
    """Hold the run folder: two runs in it would take turns at each other's checkpoints."""
    with needs_room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInputError(f"{folder}: another run is at work in it") from error
        if fresh:
            _clear(folder)
        _sweep(folder)
        yield


def _clear(folder: Path) -> None:
    for path in _folders(folder):
        shutil.rmtree(path, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    return [path for name in FOLDERS for path in folder.glob(name)]


def _sweep(folder: Path) -> None:
    """Remove what a killed run was about to write: hidden siblings of its own files, as in `.run.json.3f8a`."""
    leftovers = [path for own in _folders(folder) for path in own.rglob(".*.*")]
    for path in leftovers + [path for name in FILES for path in folder.glob(f".{name}.*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
