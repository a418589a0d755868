"""Channel-wise distillation, held against the paper's equation 4 in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation.cwd import cwd_loss
from edgekd.errors import BadInputError


def plain_softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def plain(student, teacher, temperature):
    total, maps = 0.0, 0
    for ours, theirs in zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True):
        for channel, other in zip(ours, theirs, strict=True):
            q, p = plain_softmax(channel, temperature), plain_softmax(other, temperature)
            total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
            maps += 1
    return temperature**2 * total / maps


@pytest.mark.parametrize(("shape", "temperature"), [((2, 3, 4, 5), 4.0), ((3, 2, 6), 1.0), ((1, 2, 2, 2, 3), 2.0)])
def test_is_the_definition(shape, temperature):
    student, teacher = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    # float64, sums in another order.
    assert cwd_loss(student, teacher, temperature).item() == pytest.approx(
        plain(student, teacher, temperature), rel=1e-9
    )


def test_a_constant_in_a_channel_says_nothing():
    feature = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    moved = feature + torch.randn(2, 3, 1, 1, dtype=torch.float64)
    assert cwd_loss(moved, feature).item() == pytest.approx(0.0, abs=1e-14)  # float64 rounding


def test_a_finer_grid_is_pooled_to_the_other():
    student, teacher = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 3, 4, 4).double()
    pooled = teacher.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
    assert cwd_loss(student, teacher).item() == pytest.approx(cwd_loss(student, pooled).item(), rel=1e-12)


def test_gradient_is_that_of_the_value():
    student = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: cwd_loss(feature, teacher), student)


def test_other_channels_are_refused():
    with pytest.raises(BadInputError, match="8 and 16 channels cannot be held against each other"):
        cwd_loss(torch.zeros(2, 8, 4, 4), torch.zeros(2, 16, 4, 4))
