"""Regression of logits."""

import pytest
import torch

from edgekd.distillation import Context, Output
from edgekd.distillation.mse import MSE, mse_loss


def test_is_the_definition():
    student, teacher = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    plain = sum((ours - theirs) ** 2 for ours, theirs in pairs) / 15
    # float64, sums in another order.
    assert mse_loss(student, teacher).item() == pytest.approx(plain, rel=1e-12)


def test_gradient_is_that_of_the_value():
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: mse_loss(logits, teacher), student)


def test_compares_the_logits_as_they_are():
    student, teacher = Output(torch.full((2, 3), 1e4)), Output(torch.full((2, 3), -1e4))
    context = Context(0, 1, torch.arange(2), torch.zeros(2, dtype=torch.long), torch.zeros(2, 1))
    assert MSE()(student, teacher, context).item() == 4e8
