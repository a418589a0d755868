"""LEARN, as stages: teachers, a scratch control and a distilled student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.data.dataset import Dataset
from edgekd.distillation import Generational, Method, load_methods
from edgekd.networks import Inputs
from edgekd.pipeline.documents import NetworkRecord
from edgekd.pipeline.score import agree, doubt_teacher, score, try_out
from edgekd.pipeline.stages import Stages
from edgekd.plugins import module_of
from edgekd.progress import Reporter
from edgekd.recipe import Model, Recipe
from edgekd.students import build_model, code_of, takes_teacher
from edgekd.tasks import spec_of
from edgekd.training import CachedTeacher, Distill, LabelLoss, Teacher, Teachers, train
from edgekd.training.batches import Batches, tensors
from edgekd.training.loop import HISTORY, WEIGHTS
from edgekd.training.objectives import Objective
from edgekd.training.precision import place_model, runner
from edgekd.training.seeding import derive
from edgekd.training.weights import load_weights, weights_digest


@dataclass(frozen=True)
class StageContext:
    """What every build_objective of one seed shares; `stages` remembers in that seed's folder."""

    recipe: Recipe
    data: Dataset
    seed: int
    stages: Stages
    reporter: Reporter

    @property
    def folder(self) -> Path:
        """The seed's folder."""
        return self.stages.folder

    @property
    def example(self) -> Inputs:
        """Two model inputs."""
        return tensors(self.data.val.inputs[:2], self.data.preprocessing)

    @property
    def identity(self) -> dict[str, Any]:
        """What every stage that sees the data depends on."""
        return {"data": self.data.digest(), "recipe": self.recipe.data.model_dump(mode="json", exclude={"path"})}

    def code(self, *models: Model, taught: bool = False) -> tuple[str, ...]:
        """The modules that compute a stage with these networks, and, where one is `taught`, with the methods."""
        methods = [entry["method"] for entry in self.recipe.distillation] if taught else []
        own = [code_of(model) for model in models]
        return (
            __name__,
            module_of("edgekd.tasks", spec_of(self.data.task).name),
            *own,
            *(module_of("edgekd.distillation", method) for method in methods),
        )

    @property
    def all_code(self) -> tuple[str, ...]:
        """The modules that compute a stage that all networks and methods take part in."""
        return self.code(*self.recipe.teachers, self.recipe.student, taught=True)

    @property
    def batches(self) -> Batches:
        """Two samples at a time, to look at networks with."""
        return Batches(self.data, self.recipe.data, 2, self.seed, torch.device("cpu"))

    def build(self, model: Model, teacher: nn.Module | None = None, seed: int | None = None) -> nn.Module:
        """A recipe's network with initial weights by `seed`, else the context's, or derived from its teacher."""
        shape = self.data.train.inputs.shape
        network = build_model(
            model, self.data.width, shape[1:], seed=self.seed if seed is None else seed, teacher=teacher
        )
        # Read back in another memory order than it was trained in, a network computes other last bits.
        place_model(network, torch.device("cpu"), len(shape))
        return network

    def begin(self, model: Model, teacher: nn.Module | None = None, checkpoint: str | None = None) -> nn.Module:
        """A recipe's network as it starts: with the weights of a checkpoint, its own unless given, else as built."""
        network, path = self.build(model, teacher), checkpoint or model.checkpoint
        if path is not None:
            load_weights(network, Path(path))
        return network

    def deployed(self) -> "StageContext":
        """The context with the data as a deployed model takes them: tokens at the recipe's length."""
        length = self.recipe.length
        return self if length is None else replace(self, data=self.data.of_length(length))


@dataclass(frozen=True)
class Learned:
    """A network after its stage, with what the stage recorded and where it lives."""

    model: nn.Module
    record: NetworkRecord
    folder: Path


def first_step(context: StageContext) -> nn.Module:
    """An untrained student after one look at its untrained teachers: all can be built, tapped and compared."""
    teachers = [context.begin(model) for model in context.recipe.teachers]
    for teacher in teachers:
        try_out(teacher, context.data, "teacher")
    student = context.build(context.recipe.student, teachers[0])
    try_out(student, context.data, "student")
    if context.recipe.control:
        context.begin(context.recipe.student, teachers[0], context.recipe.control)
    return try_losses(context, teachers, student, load_methods(context.recipe.distillation))


def try_losses(
    context: StageContext, teachers: list[nn.Module], student: nn.Module, methods: list[Method]
) -> nn.Module:
    """Return what would be deployed, after one loss of two samples; raise BadInputError where there is none."""
    batches = context.batches
    source = Teachers([Teacher.of(teacher, methods, number) for number, teacher in enumerate(teachers)])
    recipe, few = context.recipe, np.arange(min(2, len(context.data.train)))
    smoothing = recipe.student.training.label_smoothing
    objective = Distill(student, source, methods, cross_entropy=recipe.cross_entropy, label_smoothing=smoothing)
    objective.build(batches)
    objective(runner(student, "float32", batches.device), batches.at(few, 0), step=0, total_steps=1)
    return objective.deploy(student)


def teach(context: StageContext) -> list[Learned]:
    """The teachers, the recipe's own first: trained, read from a checkpoint or, with 0 epochs, as they were made."""
    teachers = [
        _teacher(context, model, f"teacher-{number}" if number else "teacher")
        for number, model in enumerate(context.recipe.teachers)
    ]
    for teacher in teachers:
        doubt_teacher(teacher.record["test"], context.data, context.data.test, context.reporter)
    return teachers


def _teacher(context: StageContext, recipe: Model, name: str) -> Learned:
    code = context.code(recipe)
    if recipe.checkpoint is None and recipe.training.epochs:
        return _train(context, name, recipe, None, lambda _: LabelLoss(recipe.training.label_smoothing), {}, code)
    return _given(context, name, context.begin(recipe), code)


def control(context: StageContext, teacher: Learned) -> Learned:
    """The scratch control, trained or given: the student's weights, batches and schedule; only the loss differs.

    Without a teacher there is nothing to learn from samples that have no label: it never sees them.
    """
    student, context = context.recipe.student, replace(context, data=context.data.labelled)
    code = context.code(student, *([context.recipe.teacher] if takes_teacher(student) else []))
    if context.recipe.control:
        return _given(context, "scratch", context.begin(student, teacher.model, context.recipe.control), code)
    alone = LabelLoss(student.training.label_smoothing)
    return _train(context, "scratch", student, teacher.model, lambda _: alone, {}, code)


def distil(context: StageContext, teachers: list[Learned], cache: Path) -> Learned:
    """The student, taught by the recipe's methods from its teachers' answers, over the generations they ask for."""
    methods, first = load_methods(context.recipe.distillation), teachers[0]
    for generation in range(1, generations_of(methods)):
        younger = _generation(context, f"generation-{generation}", teachers, first, methods, cache)
        teachers = [younger]
    student = _generation(context, "student", teachers, first, methods, cache)
    inputs = {"teacher": weights_digest(first.model), "student": weights_digest(student.model), **context.identity}
    agreement = context.stages.run(
        "agreement", inputs, lambda _: agree(student.model, first.model, context.data), code=context.all_code
    )
    return Learned(student.model, {**student.record, "agreement": agreement}, student.folder)


def generations_of(methods: list[Method]) -> int:
    """How many students are taught, one after the other; the last remains."""
    return max(method.generations if isinstance(method, Generational) else 1 for method in methods)


def _generation(
    context: StageContext, name: str, teachers: list[Learned], first: Learned, methods: list[Method], cache: Path
) -> Learned:
    """One student; all generations but the last, `student`, start from weights of their own."""
    recipe, models = context.recipe, [teacher.model for teacher in teachers]

    def objective(model: nn.Module) -> Objective:
        return build_objective(context, model, models, methods, cache)

    inputs = {"teachers": [weights_digest(model) for model in models], "methods": recipe.distillation}
    inputs |= {key: recipe.model_dump(mode="json")[key] for key in ("cross_entropy", "cache")}
    seed = context.seed if name == "student" else derive(context.seed, name)
    return _train(context, name, recipe.student, first.model, objective, inputs, context.all_code, seed)


def build_objective(
    context: StageContext, model: nn.Module, teachers: list[nn.Module], methods: list[Method], cache: Path
) -> Distill:
    """What a student minimises under its teachers."""
    sources = [
        CachedTeacher(Teacher.of(teacher, methods, number), cache, context.reporter, context.recipe.cache)
        for number, teacher in enumerate(teachers)
    ]
    training = context.recipe.student.training
    return Distill(
        model, Teachers(sources) if len(sources) > 1 else sources[0], methods,
        cross_entropy=context.recipe.cross_entropy, label_smoothing=training.label_smoothing, seed=context.seed,
    )  # fmt: skip


def _given(context: StageContext, name: str, model: nn.Module, code: tuple[str, ...]) -> Learned:
    """A network that needs no training."""
    inputs = {"weights": weights_digest(model), **context.identity}
    record = context.stages.run(name, inputs, lambda _: score(model, context.data), code=code)
    return Learned(model.eval(), record, context.folder / name)


def _train(
    context: StageContext,
    name: str,
    recipe: Model,
    teacher: nn.Module | None,
    objective_of: Callable[[nn.Module], Objective],
    inputs: Mapping[str, Any],
    code: tuple[str, ...],
    seed: int | None = None,
) -> Learned:
    seed = context.seed if seed is None else seed
    model, folder = context.build(recipe, teacher, seed), context.folder / name
    objective = objective_of(model)

    def work(key: str) -> NetworkRecord:
        trained = train(
            model, context.data, context.recipe.data, recipe.training, objective, folder,
            seed=context.seed, key=key, reporter=context.reporter,
        )  # fmt: skip
        scored = context.stages.group.run_on_main(lambda: score(trained.model, context.data))
        return {**scored, "val": trained.val_metric}

    inputs = {"model": recipe.model_dump(mode="json"), "seed": seed, **context.identity, **inputs}
    if teacher is not None and takes_teacher(recipe):  # what is derived has other last bits at other thread counts
        inputs |= {"derived_from": weights_digest(teacher)}
    outputs = f"{name}/{WEIGHTS}", f"{name}/{HISTORY}"
    record = context.stages.run(name, inputs, work, outputs, code=code, together=True)
    if not objective.modules:
        objective.build(context.batches)
    network = objective.deploy(model)
    load_weights(network, folder / WEIGHTS)
    return Learned(network.eval(), record, folder)
