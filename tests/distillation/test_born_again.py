"""One generation's loss; the succession of generations is the pipeline's."""

import math

import pytest
import torch

from edgekd.distillation import Context, Generational, Output, load_methods
from edgekd.distillation.born_again import BornAgain, born_again_loss
from edgekd.distillation.kd import KD
from edgekd.errors import BadInputError


def test_differs_from_the_papers_cross_entropy_by_the_teachers_entropy():
    # Equation 5 in plain loops, float64: −Σ p log q; the teacher's own −Σ p log p is constant to the student.
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64)
    expected = 0.0
    for ours, theirs in zip(student.softmax(1).tolist(), teacher.softmax(1).tolist(), strict=True):
        expected += sum(p * (math.log(p) - math.log(q)) for p, q in zip(theirs, ours, strict=True)) / 4
    loss = born_again_loss(student, teacher)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, (student.detach().softmax(1) - teacher.softmax(1)) / 4)
    assert torch.autograd.gradcheck(lambda logits: born_again_loss(logits, teacher, 2.0), student)


def test_within_a_generation_it_is_kd_at_its_temperature():
    context = Context(0, 1, torch.arange(3), torch.zeros(3).long(), torch.zeros(3, 1))
    ours, theirs = Output(torch.randn(3, 4)), Output(torch.randn(3, 4))
    assert BornAgain(temperature=2.0)(ours, theirs, context) == KD(temperature=2.0)(ours, theirs, context)


def test_says_how_many_generations_it_wants():
    (method,) = load_methods([{"method": "born-again", "generations": 3}])
    assert isinstance(method, Generational)
    assert method == BornAgain(generations=3)
    assert not isinstance(KD(), Generational)
    with pytest.raises(BadInputError, match="generations"):
        load_methods([{"method": "born-again", "generations": 0}])
