"""A run in miniature: a few batches through all of LEARN, each backend and each device, in a folder that goes again."""

import sys
import time
from collections.abc import Container, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from edgekd.backends.reference import Reference
from edgekd.data.dataset import Dataset, Split, model_inputs
from edgekd.devices import open_device
from edgekd.distillation import load_methods
from edgekd.pipeline.deploy import DeployContext, bundles_of
from edgekd.pipeline.faults import Faults, forgiven
from edgekd.pipeline.learn import Learned, StageContext, control, distil, generations_of, teach, try_losses
from edgekd.pipeline.parity_evidence import outputs_on
from edgekd.pipeline.quantise import float_graph, for_scheme, quantise
from edgekd.pipeline.score import size, try_out
from edgekd.pipeline.stages import Stages
from edgekd.pipeline.stopwatch import Span, Stopwatch
from edgekd.pipeline.summary import FLOAT_GRAPH
from edgekd.pipeline.variants import FLOAT, INT8
from edgekd.quantization.scheme import schemes_of
from edgekd.recipe import Model, Recipe
from edgekd.students import check_model
from edgekd.target import Target

STEPS, FEW, CALIBRATION = 3, 64, 32  # of each training; samples that validate and test; that calibrate
PATIENCE = 2.0  # seconds that a step may take, or its batch is made smaller
SMALL = 8  # samples, then
ANSWERS = "answers"  # the teacher's, in the folder of the trial


@dataclass
class Trial:
    """What a run in miniature has shown.

    Attributes:
        clock: the steps of its trainings, and its other parts by the names of their stages.
        shrunk: the share of a batch that was tried.
        reference: the reference's time for a sample.
        generations: the students that are taught, one after the other, for each seed.
        tested, calibrated: the samples of the test split, and of calibration, that were tried.
    """

    clock: Stopwatch
    shrunk: float = 1.0
    generations: int = 1
    reference: Span = field(default_factory=Span)
    tested: int = 0
    calibrated: int = CALIBRATION
    memory_bytes: int = 0
    answer_bytes: int = 0  # per sample and view
    kept_bytes: int = 0


def try_run(
    recipe: Recipe, data: Dataset, targets: list[Target], reachable: Container[str], folder: Path, faults: Faults
) -> Trial:
    """Try every part of a recipe by itself, then the run on a few samples; what fails goes to `faults`.

    Devices are used that are `reachable`.
    """
    torch.set_num_threads(recipe.threads)
    trial = Trial(Stopwatch(threads=0 if torch.cuda.is_available() else recipe.threads))
    context = StageContext(recipe, data, recipe.seed, Stages(folder, trial.clock), trial.clock)
    networks = _try_networks(context, faults)
    if networks is None:
        return trial
    teachers, student = networks
    known = len(faults.faults)
    for number, entry in enumerate(recipe.distillation):
        part = f"distillation {number}: {entry['method']}"
        faults.attempt(part, partial(_try_method, context, teachers, student, entry))
    if len(faults.faults) > known:
        return trial
    trial.generations = generations_of(load_methods(recipe.distillation))
    batch = _batch(context, [*teachers, student])
    small = _miniature(context, batch)
    trial.shrunk, trial.tested = batch / recipe.student.training.batch, len(small.data.test)
    before = _memory()
    _try_stages(small, targets, reachable, trial, faults)
    taught = before + max(0, trial.memory_bytes - before) / trial.shrunk  # what a step takes grows with its batch
    trial.memory_bytes = max(round(taught), _memory())
    return trial


def try_names(recipe: Recipe, faults: Faults) -> None:
    """Look up the models and methods that a recipe names, where there are no data to try them with."""
    for name, model in zip([*_names(recipe), "student"], [*recipe.teachers, recipe.student], strict=True):
        faults.attempt(name, partial(check_model, model), lambda _: "")
    for entry in recipe.distillation:
        faults.attempt(f"distillation: {entry['method']}", partial(load_methods, [entry]), lambda _: "")


def _try_networks(context: StageContext, faults: Faults) -> tuple[list[nn.Module], nn.Module] | None:
    teachers = [
        faults.attempt(name, partial(_network, context, model, name), _size_of(context))
        for name, model in zip(_names(context.recipe), context.recipe.teachers, strict=True)
    ]
    student = faults.attempt(
        "student", lambda: _network(context, context.recipe.student, "student", teachers[0]), _size_of(context)
    )
    if context.recipe.control:
        path = context.recipe.control
        faults.attempt("control", lambda: context.begin(context.recipe.student, teachers[0], path))
    built = [teacher for teacher in teachers if teacher is not None]
    for entry in context.recipe.distillation:  # what is wrong with its parameters is told without networks, too
        if student is None or len(built) < len(teachers):
            faults.attempt(f"distillation: {entry['method']}", partial(load_methods, [entry]))
    return (built, student) if student is not None and len(built) == len(teachers) else None


def _try_method(
    context: StageContext, teachers: list[nn.Module], student: nn.Module, entry: dict[str, Any]
) -> nn.Module:
    return try_losses(context, teachers, student, load_methods([entry]))


def _names(recipe: Recipe) -> list[str]:
    return [f"teacher-{number}" if number else "teacher" for number in range(len(recipe.teachers))]


def _network(context: StageContext, model: Model, who: str, teacher: nn.Module | None = None) -> nn.Module:
    network = context.begin(model, teacher)
    try_out(network, context.data, who)
    return network


def _size_of(context: StageContext) -> Any:
    def told(network: nn.Module) -> str:
        parameters, macs = size(network, context.data)
        return f"{parameters:,} parameters, {macs / 1e6:,.1f} M multiply-accumulates"

    return told


def _batch(context: StageContext, networks: Iterable[nn.Module]) -> int:
    """The student's batch, or a small one where a step would take long; forwards and backwards are three forwards."""
    batch, started = context.recipe.student.training.batch, time.perf_counter()
    for network in networks:
        try_out(network, context.data, "network")
    taken = 3 * (time.perf_counter() - started) * batch / 2
    return batch if taken < PATIENCE or batch <= SMALL else SMALL


def _miniature(context: StageContext, batch: int) -> StageContext:
    recipe = context.recipe
    settings = recipe.quantization
    short = recipe.model_copy(
        update={
            "teacher": _short(recipe.teacher, batch),
            "co_teachers": tuple(_short(teacher, batch) for teacher in recipe.co_teachers),
            "student": _short(recipe.student, batch),
            "quantization": settings.model_copy(
                update={
                    "epochs": min(settings.epochs, 1), "batch": min(settings.batch, batch), "mixed": False,
                    "calibration": min(settings.calibration, CALIBRATION),
                }
            ),
        }
    )  # fmt: skip
    return replace(context, recipe=short, data=_few(context.data, STEPS * batch))


def _short(model: Model, batch: int) -> Model:
    training = model.training
    update = {"epochs": min(training.epochs, 1), "batch": min(training.batch, batch)}
    return model.model_copy(update={"training": training.model_copy(update=update)})


def _few(data: Dataset, training: int) -> Dataset:
    group_size = data.group_size
    return replace(
        data,
        train=_some(data.train, training, group_size),
        val=_some(data.val, FEW, group_size),
        test=_some(data.test, FEW, group_size),
    )


def _some(split: Split, size: int, group_size: int) -> Split:
    """Samples from all over a split, those with a label first; what belongs together stays together."""
    groups = len(split) // group_size
    chosen = np.linspace(0, groups - 1, min(groups, size // group_size)).astype(np.int64)
    labels = split.labels[::group_size].reshape(groups, -1)
    unknown = np.all(np.isnan(labels), axis=1) if labels.dtype.kind == "f" else np.zeros(groups, np.bool_)
    if unknown[chosen].all():
        chosen = np.argsort(unknown, kind="stable")[: len(chosen)]
    return split.take((chosen[:, None] * group_size + np.arange(group_size)).ravel())


def _try_stages(
    context: StageContext, targets: list[Target], reachable: Container[str], trial: Trial, faults: Faults
) -> None:
    """The stages in the order of a run, on few samples."""
    cache = context.folder / ANSWERS
    teachers = faults.attempt("training of the teacher", lambda: teach(context))
    if teachers is None:
        return
    faults.attempt("training without a teacher", lambda: control(context, teachers[0]))
    student = faults.attempt("training with the teacher", lambda: distil(context, teachers, cache))
    trial.memory_bytes = _memory()
    trial.answer_bytes = _bytes(cache) // max(1, len(context.data.train))
    if student is None:
        return
    context = context.deployed()
    graphs = _try_graphs(context, student, teachers, targets, trial, faults)
    if FLOAT in graphs:
        trial.reference = _reference(context, graphs[FLOAT])
    trial.kept_bytes = _bytes(context.folder) - _bytes(cache)
    for target in targets:
        if target.scheme in graphs and FLOAT in graphs:
            _try_target(context, target, graphs, reachable, trial, faults)


def _try_graphs(
    context: StageContext,
    student: Learned,
    teachers: list[Learned],
    targets: list[Target],
    trial: Trial,
    faults: Faults,
) -> dict[str, Path]:
    cache = context.folder / ANSWERS
    exporting = trial.clock.timed("export float", partial(float_graph, context, student))
    if faults.attempt("export to ONNX", exporting) is None:
        return {}  # a scheme's graph would fail for the same reason
    graphs = {FLOAT: context.folder / FLOAT_GRAPH}
    for scheme in schemes_of(targets):
        work = partial(quantise, for_scheme(context, scheme, targets), student, teachers, scheme, cache)
        record = faults.attempt(f"quantisation {scheme.name}", trial.clock.timed(f"quantise {scheme.name}", work))
        if record is not None:
            graphs[scheme.name] = context.folder / "onnx" / f"{scheme.name}.onnx"
    return graphs


def _try_target(
    context: StageContext,
    target: Target,
    graphs: Mapping[str, Path],
    reachable: Container[str],
    trial: Trial,
    faults: Faults,
) -> None:
    part, uri = f"target {target.name}", context.recipe.devices.get(target.name)
    shipping = DeployContext(context.recipe, context.data, context.stages, context.reporter, graphs, {})
    references = dict.fromkeys(graphs, 0.0)
    spared = forgiven(context.recipe, target.name)
    compiling = trial.clock.timed(part, partial(bundles_of, shipping, target, references))
    bundles = faults.attempt(part, compiling, lambda made: ", ".join(made), optional=spared)
    if bundles is not None and uri is not None and uri in reachable:
        running = trial.clock.timed(f"device {target.name}", partial(_on_device, context, target, uri, bundles[INT8]))
        faults.attempt(f"{target.name} on {uri}", running, optional=spared)


def _on_device(context: StageContext, target: Target, uri: str, bundle: Path) -> None:
    with closing(open_device(uri)) as device:
        outputs_on(device, bundle, context.data.test.inputs[: target.batch], context.data.preprocessing)


def _reference(context: StageContext, graph: Path) -> Span:
    """What the reference takes for a sample, once it is warm."""
    model, data, clock = Reference(onnx.load(graph)), context.data, Stopwatch(threads=1)
    inputs = model_inputs(data.test.inputs[:FEW], data.preprocessing, onnx.load(graph).graph.input[0].name)
    model.run(inputs, batch=FEW)
    clock.timed("reference", partial(model.run, inputs, batch=FEW))()
    return clock.parts["reference"] * (1 / min(FEW, len(data.test)))


def _memory() -> int:
    """The most bytes that this process has held so far; 0 where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
