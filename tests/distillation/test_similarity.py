"""Similarities within a batch, held against the paper's equations 1 to 4 in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation.similarity import similarity_loss


def plain_gram(feature):
    rows = [sample.flatten().tolist() for sample in feature]
    gram = [[sum(a * b for a, b in zip(first, second, strict=True)) for second in rows] for first in rows]
    lengths = [math.sqrt(sum(value * value for value in row)) for row in gram]
    return [[value / length for value in row] for row, length in zip(gram, lengths, strict=True)]


@pytest.mark.parametrize("shapes", [((4, 3, 2, 2), (4, 5, 3, 3)), ((3, 6), (3, 2, 4)), ((1, 2), (1, 3))])
def test_is_the_definition(shapes):
    student, teacher = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    ours, theirs = plain_gram(student), plain_gram(teacher)
    pairs = [pair for rows in zip(ours, theirs, strict=True) for pair in zip(*rows, strict=True)]
    plain = sum((a - b) ** 2 for a, b in pairs) / len(student) ** 2
    # float64, sums in another order.
    assert similarity_loss(student, teacher).item() == pytest.approx(plain, rel=1e-10, abs=1e-15)


def test_ignores_the_scale_and_a_rotation_of_the_features():
    feature, rotation = torch.randn(4, 6, dtype=torch.float64), torch.linalg.qr(torch.randn(6, 6).double())[0]
    # float64 rounding of Gram matrices, squared.
    assert similarity_loss(3 * feature @ rotation, feature).item() == pytest.approx(0.0, abs=1e-25)


def test_gradient_is_that_of_the_value():
    student = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: similarity_loss(feature, teacher), student)
