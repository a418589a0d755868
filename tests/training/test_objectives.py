"""How losses are put together."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.distillation.kd import KD, kd_loss
from edgekd.errors import BadInputError
from edgekd.tasks.sentence_pairs import SentencePairs
from edgekd.training import Distill, LabelLoss, Teacher
from edgekd.training.batches import Batches
from edgekd.training.precision import runner

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Projected:
    """A method with trainable parts that stay in the deployed student."""

    weight: float = 1.0
    student_taps = ()
    teacher_taps = ()

    def build(self, example):
        return nn.Linear(example.student.logits.shape[1], example.teacher.logits.shape[1])

    def __call__(self, student, teacher, context):
        assert context.total_steps == 10
        return F.l1_loss(context.module(student.logits), teacher.logits)

    def deploy(self, student, module):
        return nn.Sequential(student, module)


@pytest.fixture
def scene(blobs, recipe_data, network):
    """Batches, one batch, and a student and a teacher in evaluation mode."""
    batches = Batches(blobs(), recipe_data, 32, 0, CPU)
    return batches, batches.at(np.arange(32), 0), network(4).eval(), network(6, seed=1).eval()


def test_cross_entropy_smooths_labels(scene):
    _, batch, student, _ = scene
    loss, terms = LabelLoss(label_smoothing=0.1)(runner(student, "float32", CPU), batch, 0, 10)
    logs = F.log_softmax(student(batch.inputs).double(), 1)
    targets = F.one_hot(batch.labels, 3) * 0.9 + 0.1 / 3
    assert (
        loss.item() == terms["cross_entropy"].item() == pytest.approx(-(targets * logs).sum(1).mean().item(), rel=1e-5)
    )


def test_scores_are_taught_only_where_the_task_is_pairs(scene):
    _, batch, student, _ = scene
    scored = replace(batch, labels=torch.linspace(0, 1, 16).repeat_interleave(2))
    with pytest.raises(
        BadInputError, match=r"Classification\.loss fails on .*to be Long"
    ):  # floats are no classes, and no other task is guessed from them
        LabelLoss()(runner(student, "float32", CPU), scored, 0, 10)
    loss, _ = LabelLoss()(runner(student, "float32", CPU), replace(scored, task=SentencePairs()), 0, 10)
    outputs = student(batch.inputs)
    error = F.cosine_similarity(outputs[::2], outputs[1::2]) - scored.labels[::2]
    assert loss.item() == pytest.approx(error.square().mean().item(), rel=1e-5)  # float32 sums in another order


def test_only_classes_are_smoothed(scene):
    _, batch, student, _ = scene
    scored = replace(batch, labels=torch.linspace(0, 1, 16).repeat_interleave(2), task=SentencePairs())
    with pytest.raises(BadInputError, match="label_smoothing: SentencePairs has no classes to smooth"):
        LabelLoss(label_smoothing=0.1)(student, scored, 0, 10)


def test_distillation_is_the_weighted_sum_of_its_terms(scene):
    batches, batch, student, teacher = scene
    methods = [KD(temperature=2.0, weight=0.5), KD(temperature=8.0, weight=0.25)]
    objective = Distill(student, Teacher(teacher, precision="float32"), methods, cross_entropy=0.2)
    objective.build(batches)
    loss, terms = objective(runner(student, "float32", CPU), batch, 0, 10)
    ours, theirs = student(batch.inputs), teacher(batch.inputs)
    assert list(terms) == ["cross_entropy", "kd", "kd-2"]
    assert terms["kd-2"].item() == pytest.approx(kd_loss(ours, theirs, 8.0).item(), rel=1e-5)
    expected = 0.2 * terms["cross_entropy"] + 0.5 * terms["kd"] + 0.25 * terms["kd-2"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_methods_parts_are_seeded_trained_and_deployed(scene):
    batches, batch, student, teacher = scene
    weights = []
    for seed in (3, 3, 4):
        objective = Distill(student, Teacher(teacher), [Projected()], seed=seed)
        state = torch.random.get_rng_state()
        objective.build(batches)
        assert torch.equal(torch.random.get_rng_state(), state)
        weights.append(objective.modules["projected"].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    loss, _ = objective(runner(student, "float32", CPU), batch, 0, 10)
    loss.backward()
    assert weights[2].grad.abs().sum() > 0
    deployed = objective.deploy(student)
    assert torch.equal(deployed(batch.inputs), objective.modules["projected"](student(batch.inputs)))


def test_no_gradient_reaches_the_teacher(scene):
    batches, batch, student, teacher = scene
    objective = Distill(student, Teacher(teacher), [KD()])
    objective.build(batches)
    objective(runner(student, "bf16", CPU), batch, 0, 10)[0].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_preparing_leaves_the_students_mode_and_statistics(scene):
    batches, _, student, teacher = scene
    student.train()
    before = student[1].running_mean.clone()
    Distill(student, Teacher(teacher), [Projected()]).prepare(batches, [0])
    assert student.training
    assert torch.equal(student[1].running_mean, before)


def test_a_tap_that_does_not_exist_is_one_clear_line(scene):
    _, batch, _, teacher = scene
    with pytest.raises(BadInputError, match="no module 'layer9' to tap"):
        Teacher(teacher, ["layer9"]).outputs(batch)
