"""Chances of being neighbours, held against the paper's equations 7 to 10 in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation.pkt import pkt_loss


def neighbours(samples):
    def closeness(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return (1 + dot / (math.hypot(*a) * math.hypot(*b))) / 2

    rows = [[closeness(a, b) for b in samples] for a in samples]
    return [value / sum(row) for row in rows for value in row]


@pytest.mark.parametrize("dimensions", [(4, 4), (3, 7)])
def test_is_the_definition(dimensions):
    # Positive embeddings are never opposite: the floor of 1e-7 under each chance stays below the tolerance.
    student, teacher = (torch.rand(5, size, dtype=torch.float64) for size in dimensions)
    pairs = list(zip(neighbours(teacher.tolist()), neighbours(student.tolist()), strict=True))
    plain = sum(p * math.log(p / q) for p, q in pairs) / len(pairs)
    assert pkt_loss(student, teacher).item() == pytest.approx(plain, rel=1e-5)


def test_ignores_the_scale_of_each_sample():
    embedding = torch.randn(5, 4, dtype=torch.float64)
    # float64 rounding.
    assert pkt_loss(embedding * torch.rand(5, 1), embedding).item() == pytest.approx(0.0, abs=1e-15)


def test_opposite_samples_stay_finite():
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = pkt_loss(student, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_gradient_is_that_of_the_value():
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda embedding: pkt_loss(embedding, teacher), student)
