"""Several teachers, held against the definition in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.kd import kd_loss
from edgekd.distillation.multi_teacher import MultiTeacher, confidence, multi_teacher_loss
from edgekd.errors import BadInputError

LABELS = torch.tensor([0, 3, 4])


def softmax(row, temperature=1.0):
    exponentials = [math.exp((value - max(row)) / temperature) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def plain_loss(student, teachers, weights, temperature):
    total = 0.0
    for teacher, shares in zip(teachers, weights, strict=True):
        for ours, theirs, share in zip(student, teacher, shares, strict=True):
            p, q = softmax(theirs, temperature), softmax(ours, temperature)
            total += share * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def plain_confidence(teachers, labels):
    """CA-MKD, equation 3."""
    weights = []
    for sample, label in enumerate(labels):
        errors = [math.exp(-math.log(softmax(teacher[sample])[label])) for teacher in teachers]
        weights.append([(1 - error / sum(errors)) / (len(teachers) - 1) for error in errors])
    return [list(row) for row in zip(*weights, strict=True)]


def logits(seed, networks=4):
    random = torch.Generator().manual_seed(seed)
    student, *teachers = (torch.randn(3, 5, generator=random, dtype=torch.float64) * 2 for _ in range(networks))
    return student, teachers


def answer(method, student, teachers, labels=LABELS):
    members = tuple(Output(teacher) for teacher in teachers)
    together = Output(torch.stack(teachers).mean(0), {}, members)
    return method(Output(student), together, Context(0, 1, torch.arange(3), labels, torch.zeros(3, 1)))


def test_is_the_definition():
    student, teachers = logits(0)
    weights = torch.rand(3, 3, dtype=torch.float64)
    expected = plain_loss(student.tolist(), [teacher.tolist() for teacher in teachers], weights.tolist(), 2.5)
    assert multi_teacher_loss(student, teachers, weights, 2.5).item() == pytest.approx(expected, rel=1e-9)  # float64
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda ours: multi_teacher_loss(ours, teachers, weights, 2.5), student)


@pytest.mark.parametrize("teachers", [2, 3])
def test_confidence_is_the_papers(teachers):
    _, members = logits(1, teachers + 1)
    weights = confidence(members, LABELS)
    expected = torch.tensor(plain_confidence([member.tolist() for member in members], LABELS.tolist()))
    torch.testing.assert_close(weights, expected.double(), rtol=1e-6, atol=1e-6)  # the list is read as float32
    torch.testing.assert_close(weights.sum(0), torch.ones(3, dtype=torch.float64))


def test_the_teacher_who_knows_the_label_counts_more():
    right, wrong = torch.zeros(3, 5), torch.zeros(3, 5)
    right[torch.arange(3), LABELS] = 6.0
    wrong[torch.arange(3), LABELS - 1] = 6.0
    assert (confidence([right, wrong], LABELS)[0] > 0.9).all()


@pytest.mark.parametrize(
    ("weighting", "shares"),
    [("mean", (1 / 3, 1 / 3, 1 / 3)), ((2.0, 1.0, 1.0), (0.5, 0.25, 0.25)), ((0.0, 0.0, 5.0), (0.0, 0.0, 1.0))],
)
def test_is_the_weighted_sum_of_kd(weighting, shares):
    student, teachers = logits(2)
    expected = sum(share * kd_loss(student, teacher, 4.0) for share, teacher in zip(shares, teachers, strict=True))
    # Weights are float32 numbers such as 1/3.
    assert answer(MultiTeacher(weighting=weighting), student, teachers).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


@pytest.mark.parametrize("weighting", ["mean", "confidence", (3.0,)])
def test_one_teacher_is_kd(weighting):
    student, (teacher, *_) = logits(3)
    context = Context(0, 1, torch.arange(3), LABELS, torch.zeros(3, 1))
    loss = MultiTeacher(2.0, weighting)(Output(student), Output(teacher), context)
    assert loss.item() == pytest.approx(kd_loss(student, teacher, 2.0).item(), rel=1e-12)  # float64, order of sums


def test_confidence_weighs_every_sample_by_itself():
    student, teachers = logits(4)
    weights = confidence(teachers, LABELS)
    expected = plain_loss(student.tolist(), [teacher.tolist() for teacher in teachers], weights.tolist(), 4.0)
    loss = answer(MultiTeacher(weighting="confidence"), student, teachers)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("weighting", [(1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_do_not_fit_are_one_clear_line(weighting):
    with pytest.raises(BadInputError, match="one number for each of 3 teachers") as caught:
        answer(MultiTeacher(weighting=weighting), *logits(5))
    assert "\n" not in str(caught.value)


def test_confidence_without_classes_is_one_clear_line():
    with pytest.raises(BadInputError, match="use 'mean'"):
        answer(MultiTeacher(weighting="confidence"), *logits(6), labels=torch.rand(3))


def test_loads_from_a_recipe():
    entry = {"method": "multi-teacher", "weighting": [1, 2]}
    assert load_methods([entry]) == [MultiTeacher(weighting=(1.0, 2.0))]
    with pytest.raises(BadInputError, match="weighting"):
        load_methods([{"method": "multi-teacher", "weighting": "median"}])
