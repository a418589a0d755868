"""Decoupled soft labels, held against equation 7 in plain float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.dkd import DKD, dkd_loss
from edgekd.distillation.kd import kd_loss
from edgekd.errors import BadInputError

LOGITS = arrays(np.float64, (3, 4), elements=st.floats(-20, 20))
LABELS = torch.tensor([0, 3, 1])


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def divergence(teacher, student):
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def plain_dkd(student, teacher, labels, alpha, beta, temperature):
    total = 0.0
    for ours, theirs, label in zip(student, teacher, labels, strict=True):
        binary, others = [], []
        for row in (theirs, ours):
            chances = softmax([value / temperature for value in row])
            rest = [chance for index, chance in enumerate(chances) if index != label]
            binary.append([chances[label], sum(rest)])
            others.append([chance / sum(rest) for chance in rest])
        total += alpha * divergence(*binary) + beta * divergence(*others)
    return temperature**2 * total / len(labels)


@given(LOGITS, LOGITS, st.floats(0, 4), st.floats(0, 10), st.floats(1.0, 10.0))
def test_is_the_definition(student, teacher, alpha, beta, temperature):
    # Both in float64; the loops lose digits by summing chances where the loss sums their logarithms.
    loss = dkd_loss(torch.from_numpy(student), torch.from_numpy(teacher), LABELS, alpha, beta, temperature)
    plain = plain_dkd(student.tolist(), teacher.tolist(), LABELS.tolist(), alpha, beta, temperature)
    assert loss.item() == pytest.approx(plain, rel=1e-6, abs=1e-9)


def test_of_one_sample_weighted_by_its_own_rest_is_plain_distillation():
    # Equation 6: KL = TCKD + (1 - p of the target) NCKD. Equal in float64 but for rounding.
    student, teacher = torch.randn(1, 5, dtype=torch.float64), torch.randn(1, 5, dtype=torch.float64)
    rest = 1 - (teacher / 3).softmax(1)[0, 2].item()
    loss = dkd_loss(student, teacher, torch.tensor([2]), 1.0, rest, 3.0)
    assert loss.item() == pytest.approx(kd_loss(student, teacher, 3.0).item(), rel=1e-12)


def test_is_zero_for_an_equal_student():
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert dkd_loss(teacher, teacher, LABELS, 1.0, 8.0, 4.0).item() == 0.0


def test_knows_only_the_target_of_two_classes():
    student, teacher = torch.randn(2, 2), torch.randn(2, 2)
    assert dkd_loss(student, teacher, torch.tensor([0, 1]), 0.0, 8.0, 4.0).item() == 0.0


def test_gradient_is_that_of_the_value():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: dkd_loss(logits, teacher, LABELS, 1.0, 8.0, 4.0), student)


@given(arrays(np.float32, (3, 4), elements=st.sampled_from([-1e4, -1.0, 0.0, 1e4])), st.sampled_from([1.0, 4.0]))
def test_stays_finite_in_float32(logits, temperature):
    student = torch.from_numpy(logits).requires_grad_(True)
    loss = dkd_loss(student, -student.detach().flip(0), LABELS, 1.0, 8.0, temperature)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 4]), "labels go from 0 to 4, but the student has the classes 0 to 3"),
        (torch.tensor([-1, 2]), "labels go from -1 to 2"),
        (torch.tensor([0.5, 0.2]), "the data has scores"),
    ],
)
def test_refuses_labels_that_are_no_classes(labels, message):
    output = Output(torch.zeros(2, 4))
    with pytest.raises(BadInputError, match=message) as caught:
        DKD()(output, output, Context(0, 1, torch.arange(2), labels, torch.zeros(2, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parameter", ["temperature", "alpha", "beta"])
def test_refuses_a_negative_parameter(parameter):
    with pytest.raises(BadInputError, match=parameter):
        load_methods([{"method": "dkd", parameter: -1.0}])


def test_refuses_no_temperature():
    with pytest.raises(BadInputError, match="temperature"):
        load_methods([{"method": "dkd", "temperature": 0}])
