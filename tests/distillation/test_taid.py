"""The interpolated teacher and its schedule, held against the paper in plain float64 loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgekd.distillation import Context, Example, Output, load_methods
from edgekd.distillation.taid import TAID, taid_loss
from edgekd.errors import BadInputError
from tests.properties import few

VALUES = (2.0, 1.5, 1.6, 0.9, 0.8, 0.85, 0.3, 0.29, 0.28, 0.28)


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def plain_taid(student, teacher, t):
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        target = softmax([(1 - t) * a + t * b for a, b in zip(ours, theirs, strict=True)])
        total -= sum(p * math.log(q) for p, q in zip(target, softmax(ours), strict=True))
    return total / len(student)


def plain_schedule(losses, method):
    """Every t that was used, straight from algorithm 1."""
    t, momentum, used = method.t_start, 0.0, []
    for number, loss in enumerate(losses):
        used.append(t)
        if number:
            change = (losses[number - 1] - loss) / losses[number - 1]
            momentum = method.beta * momentum + (1 - method.beta) * change
            t += method.alpha / (1 + math.exp(-momentum)) * (1 - t)
        linear = method.t_start + (method.t_end - method.t_start) * (number + 1) / len(losses)
        t = min(method.t_end, max(t, linear))
    return used


def build(method):
    nothing = Output(torch.zeros(2, 3))
    return method.build(Example(nn.Identity(), nn.Identity(), nothing, nothing, torch.zeros(2)))


def run(method, module, values, steps):
    """The t and the loss of each of the `steps` of a training whose student's own loss would follow `values`."""
    used, losses = [], []
    for step in steps:
        context = Context(step, len(values), torch.arange(1), torch.zeros(1).long(), torch.zeros(1), module=module)
        losses.append(method(Output(logits_of(values[step])), Output(torch.tensor([[4.0, -4.0]])), context).item())
        used.append(module.t.item())
    return used, losses


def logits_of(loss):
    """Two logits whose cross-entropy with the first class is `loss`."""
    return torch.tensor([[0.0, math.log(math.expm1(loss))]])


@few(50)
@given(st.lists(st.lists(st.floats(-20, 20), min_size=8, max_size=8), min_size=3, max_size=3), st.floats(0, 1))
def test_is_the_definition(rows, t):
    both = torch.tensor(rows, dtype=torch.float64)
    student, teacher = both[:, :4], both[:, 4:]
    # Both in float64; the loops lose digits by exp and log apart where torch keeps log_softmax whole.
    expected = plain_taid(student.tolist(), teacher.tolist(), t)
    assert taid_loss(student, teacher, t).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_gradient_holds_the_mixture_fixed():
    # d/dz of a cross-entropy against a constant target p is (softmax(z) − p) / N; 1e-12 is float64 rounding.
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(taid_loss(student, teacher, 0.3), student)
    target = (0.7 * student.detach() + 0.3 * teacher).softmax(1)
    torch.testing.assert_close(gradient, (student.detach().softmax(1) - target) / 3, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda logits: taid_loss(logits, teacher, 1.0), student)


@pytest.mark.parametrize("method", [TAID(), TAID(t_start=0.2, t_end=0.9, alpha=0.3, beta=0.5)])
def test_the_share_follows_the_papers_algorithm(method):
    used, losses = run(method, build(method), VALUES, range(len(VALUES)))
    assert used == pytest.approx(plain_schedule(losses, method), abs=1e-6)  # float32 buffers against float64
    linear = [method.t_start + (method.t_end - method.t_start) * step / len(used) for step in range(len(used))]
    assert all(t >= floor - 1e-6 for t, floor in zip(used, linear, strict=True))
    assert used == sorted(used)
    assert used[-1] <= method.t_end + 1e-6


def test_a_falling_loss_moves_faster_than_a_rising_one():
    method = TAID(alpha=0.8, beta=0.0)
    (_, _, fast), _ = run(method, build(method), (3.0, 0.5, *VALUES), range(3))
    (_, _, slow), _ = run(method, build(method), (0.5, 3.0, *VALUES), range(3))
    assert fast > slow + 0.01


def test_a_batch_in_pieces_moves_the_share_once_by_its_mean_loss():
    method, teacher = TAID(alpha=0.8, beta=0.0), torch.tensor([[4.0, -4.0]]).repeat(3, 1)
    whole, pieces = build(method), build(method)
    for step, value in enumerate(VALUES):
        logits = torch.cat([logits_of(value), logits_of(value + 1), logits_of(value / 2)])
        for module, cuts in ((whole, [3]), (pieces, [1, 2])):
            for ours, theirs in zip(logits.split(cuts), teacher.split(cuts), strict=True):
                context = Context(step, 10, torch.arange(1), torch.zeros(1), torch.zeros(1), module=module)
                method(Output(ours), Output(theirs), context)
        assert pieces.t.item() == pytest.approx(whole.t.item(), abs=1e-6)  # float32, summed in another order


def test_resumes_equal_from_its_buffers():
    method = TAID(alpha=0.3, beta=0.5)
    unbroken, _ = run(method, build(method), VALUES, range(10))
    killed, resumed = build(method), build(method)
    run(method, killed, VALUES, range(4))
    resumed.load_state_dict(killed.state_dict())
    assert run(method, resumed, VALUES, range(4, 10))[0] == unbroken[4:]  # bit-equal


def test_loads_from_a_recipe():
    assert load_methods([{"method": "taid", "t_start": 0.1}]) == [TAID(t_start=0.1)]
    with pytest.raises(BadInputError, match="t_end"):
        load_methods([{"method": "taid", "t_end": 1.5}])
