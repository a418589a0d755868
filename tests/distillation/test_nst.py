"""Selectivity of channels, held against the squared discrepancy (equations 2 and 6) in plain float64 loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from edgekd.distillation.nst import NST, nst_loss


def channels(sample):
    return [[value / math.hypot(*channel) for value in channel] for channel in sample.flatten(1).tolist()]


def kernel(first, second):
    products = [sum(x * y for x, y in zip(a, b, strict=True)) ** 2 for a in first for b in second]
    return sum(products) / len(products)


def plain_nst(student, teacher):
    total = 0.0
    for ours, theirs in zip(map(channels, student), map(channels, teacher), strict=True):
        total += kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(theirs, ours)
    return total / len(student)


@pytest.mark.parametrize(("ours", "theirs"), [((3, 2, 4, 3), (3, 5, 4, 3)), ((2, 1, 6), (2, 4, 6))])
def test_is_the_definition(ours, theirs):
    student, teacher = torch.randn(ours, dtype=torch.float64), torch.randn(theirs, dtype=torch.float64)
    # float64, sums in another order, and terms that cancel.
    assert nst_loss(student, teacher).item() == pytest.approx(plain_nst(student, teacher), rel=1e-11)


def test_ignores_the_order_the_sign_and_the_scale_of_channels():
    feature = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    # float64 rounding of terms of size 1 that cancel.
    assert nst_loss(-2 * feature.flip(1), feature).item() == pytest.approx(0.0, abs=1e-15)


def test_the_larger_map_is_averaged_to_the_smaller():
    small, large = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    pooled = nst_loss(small, F.avg_pool1d(large, 2))
    assert nst_loss(small, large).item() == pytest.approx(pooled.item(), rel=1e-12)


def test_gradient_is_that_of_the_value():
    student = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: nst_loss(feature, teacher), student)


def test_its_weight_is_the_papers():
    assert NST({"student": "teacher"}).weight == 50  # λ on CIFAR
