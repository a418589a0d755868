"""Distances and angles between samples, held against the paper in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation import load_methods
from edgekd.distillation.rkd import RKD, rkd_loss
from edgekd.errors import BadInputError


def smooth_l1(first, second):
    """Equation 5."""
    gap = abs(first - second)
    return gap * gap / 2 if gap < 1 else gap - 0.5


def distances(samples):
    """Equations 3 and 4; the mean is over pairs of different samples."""
    gaps = [[math.dist(a, b) for b in samples] for a in samples]
    apart = [gap for row in gaps for gap in row if gap > 0]
    return [gap / (sum(apart) / len(apart)) for row in gaps for gap in row]


def angles(samples):
    """Equation 7: cosines at b between a and c; a side without length has none."""
    cosines = []
    for b in samples:
        for a in samples:
            for c in samples:
                lengths = math.dist(a, b) * math.dist(c, b)
                dot = sum((x - y) * (z - y) for x, y, z in zip(a, b, c, strict=True))
                cosines.append(dot / lengths if lengths else 0.0)
    return cosines


def plain_mean(student, teacher):
    return sum(map(smooth_l1, student, teacher)) / len(student)


@pytest.mark.parametrize("dimensions", [(3, 3), (2, 5), (1, 4)])
def test_is_the_definition(dimensions):
    student, teacher = (torch.randn(5, size, dtype=torch.float64) for size in dimensions)
    ours, theirs = student.tolist(), teacher.tolist()
    distance = plain_mean(distances(ours), distances(theirs))
    angle = plain_mean(angles(ours), angles(theirs))
    # float64, sums in another order.
    assert rkd_loss(student, teacher, 1.0, 0.0).item() == pytest.approx(distance, rel=1e-12)
    assert rkd_loss(student, teacher, 0.0, 1.0).item() == pytest.approx(angle, rel=1e-12)
    assert rkd_loss(student, teacher).item() == pytest.approx(25 * distance + 50 * angle, rel=1e-12)


def test_large_differences_count_linearly():
    # Over their mean, the distances to one far sample are 4, against 1 everywhere for the teacher.
    student = torch.tensor([[0.01 * place] for place in range(7)] + [[9.0]], dtype=torch.float64)
    teacher = torch.eye(8, dtype=torch.float64)
    ours, theirs = distances(student.tolist()), distances(teacher.tolist())
    assert max(map(abs, (a - b for a, b in zip(ours, theirs, strict=True)))) > 2
    plain = plain_mean(ours, theirs)
    assert rkd_loss(student, teacher, 1.0, 0.0).item() == pytest.approx(plain, rel=1e-12)


def test_ignores_where_how_large_and_which_way_round():
    embedding, rotation = torch.randn(5, 4, dtype=torch.float64), torch.linalg.qr(torch.randn(4, 4).double())[0]
    # float64 rounding, squared.
    assert rkd_loss(2 * embedding @ rotation + 1, embedding).item() == pytest.approx(0.0, abs=1e-25)


def test_gradient_is_that_of_the_value():
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda embedding: rkd_loss(embedding, teacher), student)


def test_twins_have_a_gradient():
    student = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(rkd_loss(student, torch.randn(3, 2)), student)
    assert gradient.isfinite().all()


def test_reads_the_recipes_entry():
    entry = {"method": "rkd", "layers": {"a": "b"}, "distance_weight": 1.0}
    assert load_methods([entry]) == [RKD({"a": "b"}, distance_weight=1.0)]
    with pytest.raises(BadInputError, match="angle_weight"):
        load_methods([entry | {"angle_weight": -1.0}])
