"""Soft labels, held against the definition in plain float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from edgekd.distillation.kd import kd_loss
from tests.properties import few

LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def z_scores(row):
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / len(row))
    return [(value - mean) / (deviation + 1e-7) for value in row]


def plain_kd(student, teacher, temperature, standardize):
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        if standardize:
            ours, theirs = z_scores(ours), z_scores(theirs)
        p = softmax([value / temperature for value in theirs])
        q = softmax([value / temperature for value in ours])
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@few(50)
@given(LOGITS, LOGITS, st.floats(1.0, 10.0), st.booleans())
def test_is_the_definition(student, teacher, temperature, standardize):
    # Both in float64; the loops lose digits by exp and log apart where torch keeps log_softmax whole.
    loss = kd_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature, standardize)
    assert loss.item() == pytest.approx(plain_kd(student, teacher, temperature, standardize), rel=1e-6, abs=1e-9)


def test_is_zero_for_an_equal_student_and_ignores_a_shift():
    teacher = torch.randn(4, 6, dtype=torch.float64)
    assert kd_loss(teacher, teacher, 4.0).item() == 0.0
    assert kd_loss(teacher + 3.0, teacher, 4.0).item() == pytest.approx(0.0, abs=1e-12)


def test_standardised_ignores_the_scale_too():
    teacher = torch.randn(4, 6, dtype=torch.float64)
    assert kd_loss(5 * teacher - 1, teacher, 2.0, standardize=True).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("standardize", [False, True])
def test_gradient_is_that_of_the_value(standardize):
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: kd_loss(logits, teacher, 3.0, standardize), student)


def test_a_hot_temperature_regresses_the_logits():
    # Hinton et al., eq. 4: as T grows the gradient tends to (z - v) / (N C) for centred logits, whatever T is.
    student, teacher = (F.layer_norm(torch.randn(4, 6, dtype=torch.float64), (6,)) for _ in range(2))
    student.requires_grad_(True)
    (gradient,) = torch.autograd.grad(kd_loss(student, teacher, 1e4), student)
    torch.testing.assert_close(gradient, (student - teacher).detach() / 24, rtol=1e-2, atol=1e-5)


def test_does_not_overflow():
    extreme = torch.tensor([[1e4, -1e4, 0.0]])
    assert torch.isfinite(kd_loss(extreme, -extreme, 1.0))
