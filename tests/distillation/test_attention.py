"""Attention maps, held against the paper's equation 2 in plain float64 loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from edgekd.distillation import load_methods
from edgekd.distillation.attention import attention_loss
from edgekd.errors import BadInputError


def plain_maps(feature, p):
    maps = []
    for sample in feature.flatten(2):
        energies = [sum(abs(value) ** p for value in column) / len(sample) for column in sample.T.tolist()]
        length = math.sqrt(sum(energy * energy for energy in energies))
        maps.append([energy / length for energy in energies])
    return maps


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 2, 4, 3), (2, 1, 5), (1, 3, 2, 2, 2)])
def test_is_the_definition(p, shape):
    student = torch.randn(shape, dtype=torch.float64)
    teacher = torch.randn(shape[0], 6, *shape[2:], dtype=torch.float64)
    gaps = [
        (a - b) ** 2
        for ours, theirs in zip(plain_maps(student, p), plain_maps(teacher, p), strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    # float64, sums in another order.
    assert attention_loss(student, teacher, p).item() == pytest.approx(sum(gaps) / len(gaps), rel=1e-12)


def test_ignores_the_scale_and_the_sign():
    feature = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    # float64 rounding, squared.
    assert attention_loss(-5 * feature, feature).item() == pytest.approx(0.0, abs=1e-30)


def test_the_larger_map_is_averaged_to_the_smaller():
    small, large = torch.randn(2, 3, 4, 2, dtype=torch.float64), torch.randn(2, 5, 8, 4, dtype=torch.float64)
    pooled = attention_loss(small, F.avg_pool2d(large, 2))
    assert attention_loss(small, large).item() == pytest.approx(pooled.item(), rel=1e-12)
    assert attention_loss(large, small).item() == pytest.approx(pooled.item(), rel=1e-12)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_gradient_is_that_of_the_value(p):
    student = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: attention_loss(feature, teacher, p), student)


def test_refuses_a_power_without_a_gradient_at_zero():
    with pytest.raises(BadInputError, match="p: "):
        load_methods([{"method": "attention", "layers": {"a": "b"}, "p": 0.5}])
