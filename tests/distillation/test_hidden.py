"""States of tokens: cosine and squared error in plain float64 loops, projections, and no padding."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from edgekd.distillation import Context, Example, Output, load_methods
from edgekd.distillation.hidden import Hidden, hidden_loss
from edgekd.errors import BadInputError

MASK = torch.tensor([[True, True, False], [True, False, False]])
KINDS = ["cosine", "mse"]


def states(width, dtype=torch.float64):
    return torch.randn(2, 3, width, dtype=dtype)


def output(**features):
    return Output(torch.zeros(2, 3), features)


def build(method, student, teacher):
    return method.build(Example(nn.Identity(), nn.Identity(), student, teacher, torch.zeros(2)))


def loss_of(method, student, teacher, mask=None, module=None):
    parts = module or build(method, student, teacher)
    context = Context(0, 1, torch.arange(2), torch.zeros(2).long(), torch.zeros(2, 3).long(), mask, parts)
    return method(student, teacher, context)


def plain_cosine(ours, theirs):
    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        total += 1 - dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return total / len(ours)


def plain_squares(ours, theirs):
    squares = [(x - y) ** 2 for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True)]
    return sum(squares) / len(squares)


def test_is_one_minus_the_cosine():
    ours, theirs = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    assert hidden_loss(ours, theirs).item() == pytest.approx(plain_cosine(ours.tolist(), theirs.tolist()), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: hidden_loss(x, theirs), ours.requires_grad_(True))


def test_stays_finite_for_a_silent_state():
    silent = torch.zeros(2, 4, requires_grad=True)
    loss = hidden_loss(silent, torch.randn(2, 4))
    (gradient,) = torch.autograd.grad(loss, silent)
    assert loss.item() == 1.0
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("kind", "plain"), [("cosine", plain_cosine), ("mse", plain_squares)])
def test_counts_real_tokens_alone(kind, plain):
    ours, theirs = states(4), states(4)
    real = [[tensor[n, t].tolist() for n, t in ((0, 0), (0, 1), (1, 0))] for tensor in (ours, theirs)]
    loss = loss_of(Hidden({"a": "b"}, loss=kind), output(a=ours), output(b=theirs), MASK)
    assert loss.item() == pytest.approx(plain(*real), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_padding_changes_nothing(kind):
    ours, theirs = states(4), states(6)
    method = Hidden({"a": "b"}, loss=kind)
    module = build(method, output(a=ours), output(b=theirs)).double()
    noisy = [tensor.masked_fill(~MASK[..., None], 1e6) for tensor in (ours, theirs)]
    losses = [
        loss_of(method, output(a=a), output(b=b), MASK, module) for a, b in ((ours, theirs), (noisy[0], noisy[1]))
    ]
    assert losses[0].item() == losses[1].item()  # the same numbers, added in the same order


@pytest.mark.parametrize("kind", KINDS)
def test_projects_only_where_widths_differ(kind):
    student, teacher = output(a=states(4, torch.float32), b=states(4)), output(x=states(6, torch.float32), y=states(4))
    method = Hidden({"a": "x", "b": "y"}, loss=kind)
    module = build(method, student, teacher)
    assert [type(part) for part in module] == [nn.Linear, nn.Identity]
    loss_of(method, student, teacher, MASK, module).backward()
    assert module[0].weight.grad.any()


def test_averages_over_the_pairs_without_a_mask():
    ours, theirs = states(4), states(4)
    loss = loss_of(Hidden({"a": "x", "b": "y"}), output(a=ours, b=theirs), output(x=theirs, y=theirs))
    assert_close(loss, hidden_loss(ours.flatten(0, 1), theirs.flatten(0, 1)) / 2)


def test_refuses_states_of_other_tokens():
    with pytest.raises(BadInputError, match=r"'a' of shape \(3, 4\), 'b' of \(5, 4\): hint has a regressor") as caught:
        build(Hidden({"a": "b"}), output(a=torch.zeros(2, 3, 4)), output(b=torch.zeros(2, 5, 4)))
    assert "\n" not in str(caught.value)


def test_loads_from_a_recipe():
    entry = {"method": "hidden", "layers": {"embeddings": "embeddings"}, "loss": "mse"}
    assert load_methods([entry]) == [Hidden({"embeddings": "embeddings"}, loss="mse")]
    with pytest.raises(BadInputError, match="loss"):
        load_methods([entry | {"loss": "l1"}])
