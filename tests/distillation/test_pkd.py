"""Correlated features, held against the paper's equations 3 and 4 in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation.pkd import pkd_loss
from edgekd.errors import BadInputError


def standardised(values):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / deviation for value in values]


def plain(student, teacher):
    """Half the mean squared error of features that have mean 0 and deviation 1 over batch and positions."""
    total, count = 0.0, 0
    for channel in range(student.shape[1]):
        ours, theirs = (standardised(feature[:, channel].flatten().tolist()) for feature in (student, teacher))
        total += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / 2
        count += len(ours)
    return total / count


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 6)])
def test_is_the_definition(shape):
    student, teacher = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    # float64, sums in another order.
    assert pkd_loss(student, teacher).item() == pytest.approx(plain(student, teacher), rel=1e-10)


def test_scale_and_offset_of_a_channel_say_nothing():
    feature = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert pkd_loss(3 * feature - 5, feature).item() == pytest.approx(0.0, abs=1e-14)  # float64 rounding
    assert pkd_loss(-feature, feature).item() == pytest.approx(2.0, rel=1e-12)


def test_a_dead_channel_has_no_gradient():
    student = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = pkd_loss(student, torch.randn(2, 1, 3, 3))
    loss.backward()
    assert loss.item() == 1
    assert not student.grad.any()


def test_gradient_is_that_of_the_value():
    student = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: pkd_loss(feature, teacher), student)


def test_vectors_are_refused():
    with pytest.raises(BadInputError, match="no common positions"):
        pkd_loss(torch.zeros(2, 8), torch.zeros(2, 8))
