"""LEARN, as stages: a teacher, a scratch control and a distilled student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.data.dataset import Dataset, prepare
from edgekd.distillation import Method, load_methods
from edgekd.pipeline.stages import Stages
from edgekd.progress import Reporter
from edgekd.recipe import Model, Recipe
from edgekd.students import build_model, count
from edgekd.training import CachedTeacher, CrossEntropy, Distill, Teacher, evaluate, predict, teacher_taps, train
from edgekd.training.batches import Batches
from edgekd.training.objectives import Objective
from edgekd.training.precision import place_model, runner
from edgekd.training.weights import load_weights, weights_digest

WEIGHTS, HISTORY = "best.safetensors", "history.json"


@dataclass(frozen=True)
class Classroom:
    """What every lesson of one seed shares; `stages` remembers in that seed's folder."""

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
    def example(self) -> torch.Tensor:
        """Two model inputs."""
        return torch.from_numpy(prepare(self.data.val.inputs[:2], self.data.preprocessing))

    @property
    def identity(self) -> dict[str, Any]:
        """What every stage that sees the data depends on."""
        return {"data": self.data.digest(), "recipe": self.recipe.data.model_dump(mode="json", exclude={"path"})}

    @property
    def batches(self) -> Batches:
        """Two samples at a time, to look at networks with."""
        return Batches(self.data, self.recipe.data, 2, self.seed, torch.device("cpu"))

    def build(self, model: Model, teacher: nn.Module | None = None) -> nn.Module:
        """A recipe's network with this seed's initial weights, perhaps derived from its teacher."""
        shape = self.data.train.inputs.shape
        network = build_model(model, len(self.data.classes), shape[1:], seed=self.seed, teacher=teacher)
        # Read back in another memory order than it was trained in, a network computes other last bits.
        place_model(network, torch.device("cpu"), len(shape))
        return network


@dataclass(frozen=True)
class Learned:
    """A network after its stage, with what the stage recorded and where it lives."""

    model: nn.Module
    record: dict[str, Any]
    folder: Path


def first_step(room: Classroom) -> nn.Module:
    """An untrained student after one look at its untrained teacher: both can be built, tapped and compared."""
    teacher = room.build(room.recipe.teacher)
    student, batches = room.build(room.recipe.student, teacher), room.batches
    methods = load_methods(room.recipe.distillation)
    objective = Distill(
        student, Teacher(teacher, teacher_taps(methods)), methods, cross_entropy=room.recipe.cross_entropy
    )
    objective.build(batches)
    objective(runner(student, "float32", batches.device), batches.at(np.arange(2), 0), step=0, total_steps=1)
    return objective.deploy(student)


def teach(room: Classroom) -> Learned:
    """The teacher: trained, or read from the recipe's checkpoint."""
    recipe = room.recipe.teacher
    if recipe.checkpoint is None:
        return _train(room, "teacher", recipe, None, lambda _: CrossEntropy(recipe.training.label_smoothing), {})
    model = room.build(recipe)
    load_weights(model, Path(recipe.checkpoint))
    record = room.stages.run(
        "teacher", {"weights": weights_digest(model), **room.identity}, lambda _: _measure(room, model)
    )
    return Learned(model, record, room.folder / "teacher")


def control(room: Classroom, teacher: Learned) -> Learned:
    """The scratch control: the student's weights, batches, steps and schedule; only the loss differs."""
    student = room.recipe.student
    return _train(room, "scratch", student, teacher.model, lambda _: CrossEntropy(student.training.label_smoothing), {})


def distil(room: Classroom, teacher: Learned, cache: Path) -> Learned:
    """The student, taught by the recipe's methods from the teacher's cached answers."""
    recipe, methods = room.recipe, load_methods(room.recipe.distillation)

    def objective(model: nn.Module) -> Objective:
        return lesson(room, model, teacher.model, methods, cache)

    inputs = {"teacher": weights_digest(teacher.model), "methods": recipe.distillation, "ce": recipe.cross_entropy}
    student = _train(room, "student", recipe.student, teacher.model, objective, inputs)
    agreement = room.stages.run(
        "agreement",
        {"teacher": weights_digest(teacher.model), "student": weights_digest(student.model), **room.identity},
        lambda _: _agreement(room, teacher.model, student.model),
    )
    return Learned(student.model, student.record | {"agreement": agreement}, student.folder)


def lesson(room: Classroom, model: nn.Module, teacher: nn.Module, methods: list[Method], cache: Path) -> Distill:
    """What a student minimises under its teacher."""
    source = CachedTeacher(Teacher(teacher, teacher_taps(methods)), cache, room.reporter)
    training = room.recipe.student.training
    return Distill(
        model, source, methods,
        cross_entropy=room.recipe.cross_entropy, label_smoothing=training.label_smoothing, seed=room.seed,
    )  # fmt: skip


def _train(
    room: Classroom,
    name: str,
    recipe: Model,
    teacher: nn.Module | None,
    objective_of: Callable[[nn.Module], Objective],
    inputs: Mapping[str, Any],
) -> Learned:
    model, folder = room.build(recipe, teacher), room.folder / name
    objective = objective_of(model)

    def work(key: str) -> dict[str, Any]:
        trained = train(
            model, room.data, room.recipe.data, recipe.training, objective, folder,
            seed=room.seed, key=key, reporter=room.reporter,
        )  # fmt: skip
        return _measure(room, trained.model) | {"val": trained.val_metric}

    inputs = {"model": recipe.model_dump(mode="json"), "seed": room.seed, **room.identity, **inputs}
    record = room.stages.run(name, inputs, work, outputs=(f"{name}/{WEIGHTS}", f"{name}/{HISTORY}"))
    if not objective.modules:
        objective.build(room.batches)
    network = objective.deploy(model)
    load_weights(network, folder / WEIGHTS)
    return Learned(network.eval(), record, folder)


def _measure(room: Classroom, model: nn.Module) -> dict[str, Any]:
    parameters, macs = count(model, room.data.train.inputs.shape[1:])
    return {"test": evaluate(model, room.data, room.data.test), "parameters": parameters, "macs": macs}


def _agreement(room: Classroom, teacher: nn.Module, student: nn.Module) -> float:
    answers = [predict(model, room.data.test, room.data.preprocessing).argmax(1) for model in (teacher, student)]
    return float((answers[0] == answers[1]).mean())
