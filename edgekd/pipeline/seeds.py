"""All stages of a recipe: its teachers once, then student, graphs and bundles of each seed."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from edgekd.data.dataset import Dataset
from edgekd.devices import open_device
from edgekd.errors import EdgekdError
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.deploy import DeployContext, deploy
from edgekd.pipeline.finished import remember
from edgekd.pipeline.learn import Learned, StageContext, control, distil, teach
from edgekd.pipeline.methods import with_parameters
from edgekd.pipeline.origin import versions
from edgekd.pipeline.pictures import draw
from edgekd.pipeline.plan import load_data, only_calibrated
from edgekd.pipeline.quantise import float_graph, for_scheme, quantise, rehearse
from edgekd.pipeline.score import is_doubtful
from edgekd.pipeline.stages import Stages
from edgekd.pipeline.summary import FLOAT_GRAPH, SeedResult, recipe_digest, summarise
from edgekd.pipeline.variants import FLOAT
from edgekd.progress import Reporter
from edgekd.quantization.scheme import schemes_of
from edgekd.recipe import Recipe
from edgekd.reporting import RUN
from edgekd.reporting.html import write_report
from edgekd.reporting.run_record import RunRecord
from edgekd.target import Target
from edgekd.training.state_dicts import read_state_dicts


def run_seeds(
    recipe: Recipe, targets: list[Target], stages: Stages, reporter: Reporter, any_range: bool
) -> tuple[RunRecord, set[str]]:
    """Run what of a recipe is not remembered; return `run.json` and the targets whose devices were lost."""
    torch.set_num_threads(recipe.threads)
    _read_checkpoints(recipe)
    data = load_data(recipe, any_range, reporter)
    context = StageContext(recipe, data, recipe.seed, stages, reporter)
    rehearse(context, targets)
    teachers = teach(context)
    results = []
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        with _naming(seed, recipe.seeds):
            own = _stages_of(seed, recipe, stages)
            results.append(_run_seed(replace(context, seed=seed, stages=own), targets, teachers))
    run = stages.group.run_on_main(lambda: _record(recipe, data, targets, teachers, results, stages))
    return run, {name for result in results for name, entry in result.targets.items() if entry.lost}


def _read_checkpoints(recipe: Recipe) -> None:
    """Fail on a file of weights that cannot be read before data are prepared for it."""
    for path in (*(model.checkpoint for model in recipe.teachers), recipe.control):
        if path is not None:
            read_state_dicts(Path(path))


def _record(
    recipe: Recipe,
    data: Dataset,
    targets: list[Target],
    teachers: list[Learned],
    results: list[SeedResult],
    stages: Stages,
) -> RunRecord:
    """Write `run.json` and the report; remember the run, if the same command would neither do nor say more."""
    with closing(open_device("local:")) as host:
        machine = machine_facts(host).model_dump(mode="json")
    methods, records = with_parameters(recipe.distillation), [teacher.record for teacher in teachers]
    run = summarise(recipe, data, methods, records, results, machine, stages.log)
    write_json(stages.folder / RUN, run.document())
    write_report(stages.folder)
    doubted = any(is_doubtful(teacher.record["test"], data, data.test) for teacher in teachers)
    again = any(entry.again for result in results for entry in result.targets.values())
    reused = any(stage["state"] == "reused" for stage in stages.log)
    if not (doubted or again or reused):
        remember(recipe, targets, data.digest(), stages.folder)
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


def _run_seed(context: StageContext, targets: list[Target], teachers: list[Learned]) -> SeedResult:
    """One seed's student and its bundles; only the first seed is timed."""
    recipe, seed, stages, cache = context.recipe, context.seed, context.stages, teachers[0].folder / "answers"
    scratch, student = control(context, teachers[0]), distil(context, teachers, cache)
    context = context.deployed()
    graph, quantized = float_graph(context, student), {}
    graphs = {FLOAT: context.folder / FLOAT_GRAPH}
    for scheme in schemes_of(targets):
        own = for_scheme(context, scheme, targets)
        quantized[scheme.name] = quantise(own, student, teachers, scheme, cache)
        graphs[scheme.name] = context.folder / "onnx" / f"{scheme.name}.onnx"
    # augmented, every seed sees other pixels
    stages.group.run_on_main(lambda: shutil.rmtree(cache, ignore_errors=True))
    provenance = {"recipe_sha256": recipe_digest(recipe), "versions": versions(), "seed": seed}
    calibrated = only_calibrated(recipe, targets)
    shipping = DeployContext(recipe, context.data, stages, context.reporter, graphs, provenance, calibrated)
    references = {FLOAT: graph["test"], **{name: record["test"] for name, record in quantized.items()}}
    entries = stages.group.run_on_main(
        lambda: {target.name: deploy(shipping, target, references, timed=seed == recipe.seed) for target in targets}
    )
    drawn = draw(context, teachers[0], student, graphs) if seed == recipe.seed else []
    return SeedResult(seed, scratch.record, student.record, graph, quantized, entries, drawn)
