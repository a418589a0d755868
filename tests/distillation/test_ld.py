"""Distributions of box edges, held against the paper's equations 2 and 3 in plain float64 loops."""

import math

import pytest
import torch

from edgekd.distillation import Context, Output
from edgekd.distillation.ld import EDGES, LD, ld_loss
from edgekd.errors import BadInputError

BINS = 5


def boxes(*grid, count=2):
    return torch.randn(count, EDGES * BINS, *grid, dtype=torch.float64)


def plain_softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def plain(student, teacher, temperature, scores=None):
    total, weights = 0.0, 0.0
    ours, theirs = student.flatten(2), teacher.flatten(2)
    for sample in range(len(ours)):
        for place in range(ours.shape[2]):
            weight = 1.0
            if scores is not None:
                weight = max(1 / (1 + math.exp(-score)) for score in scores.flatten(2)[sample, :, place].tolist())
            for edge in range(EDGES):
                bins = slice(edge * BINS, (edge + 1) * BINS)
                q = plain_softmax(ours[sample, bins, place].tolist(), temperature)
                p = plain_softmax(theirs[sample, bins, place].tolist(), temperature)
                total += weight * sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
            weights += weight
    return temperature**2 * total / weights


@pytest.mark.parametrize(("grid", "scored"), [((3, 2), True), ((3, 2), False), ((4,), True)])
def test_is_the_definition(grid, scored):
    student, teacher = boxes(*grid), boxes(*grid)
    scores = torch.randn(2, 3, *grid, dtype=torch.float64) if scored else None
    # float64, sums in another order.
    assert ld_loss(student, teacher, BINS, 3.0, scores).item() == pytest.approx(
        plain(student, teacher, 3.0, scores), rel=1e-9
    )


def test_gradient_is_that_of_the_value():
    student, teacher = boxes(2, 2).requires_grad_(True), boxes(2, 2)
    scores = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda feature: ld_loss(feature, teacher, BINS, 2.0, scores), student)


def test_every_pair_has_its_scores():
    method = LD({"a": "x", "b": "y"}, scores=("p", "q"), bins=BINS)
    assert method.weight == 0.0
    assert (method.student_taps, method.teacher_taps) == (("a", "b"), ("x", "y", "p", "q"))
    student = Output(torch.zeros(2, 3), {"a": boxes(3), "b": boxes(2)})
    theirs = {"x": boxes(3), "y": boxes(2), "p": torch.randn(2, 3, 3), "q": torch.randn(2, 3, 2)}
    context = Context(0, 1, torch.arange(2), torch.zeros(2), torch.zeros(2, 1))
    wanted = [
        ld_loss(student.features[ours], theirs[boxes], BINS, 10.0, theirs[scores])
        for ours, boxes, scores in (("a", "x", "p"), ("b", "y", "q"))
    ]
    found = method(student, Output(torch.zeros(2, 3), theirs), context)
    assert found.item() == pytest.approx(sum(wanted).item() / 2, rel=1e-12)  # float64
    with pytest.raises(BadInputError, match="1 scores for 2 pairs"):
        LD({"a": "x", "b": "y"}, scores=("p",), bins=BINS)(student, Output(torch.zeros(2, 3), theirs), context)


def test_other_bins_and_grids_are_refused():
    with pytest.raises(BadInputError, match=r"4 × 7 bins = 28"):
        ld_loss(boxes(3), boxes(3), 7)
    with pytest.raises(BadInputError, match="on another grid"):
        ld_loss(boxes(3), boxes(3), BINS, 1.0, torch.zeros(2, 3, 2))
