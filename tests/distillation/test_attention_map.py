"""Attention scores, held against TinyBERT's mean squared error in plain float64 loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.attention_map import AttentionMap, attention_map_loss
from edgekd.errors import BadInputError

MASK = torch.tensor([[True, True, False], [True, False, False]])


def scores(heads, seed=0, length=3):
    return torch.randn(2, heads, length, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(student, teacher, mask):
    """Mean over samples' heads and pairs of real tokens of the squared difference."""
    squares = []
    for ours, theirs, real in zip(student.tolist(), teacher.tolist(), mask.tolist(), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            tokens = [token for token, kept in enumerate(real) if kept]
            squares += [(a[i][j] - b[i][j]) ** 2 for i in tokens for j in tokens]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("mask", [MASK, torch.ones(2, 3, dtype=torch.bool)])
@given(seed=st.integers(0, 99))
def test_is_the_definition(mask, seed):
    ours, theirs = scores(4, seed), scores(4, seed + 100)
    assert attention_map_loss(ours, theirs, mask).item() == pytest.approx(plain(ours, theirs, mask), rel=1e-12)


def test_without_a_mask_all_tokens_are_real():
    ours, theirs = scores(4, 1), scores(4, 2)
    whole = torch.ones(2, 3, dtype=torch.bool)
    assert attention_map_loss(ours, theirs).item() == pytest.approx(plain(ours, theirs, whole), rel=1e-12)


def test_gradient_is_that_of_the_value():
    ours, theirs = scores(2, 1).requires_grad_(True), scores(2, 2)
    assert torch.autograd.gradcheck(lambda x: attention_map_loss(x, theirs, MASK), ours)
    assert torch.autograd.gradcheck(lambda x: attention_map_loss(x, scores(3), MASK), ours)


def test_what_stands_in_padding_changes_nothing():
    padding = ~(MASK[:, None, :, None] & MASK[:, None, None, :])
    clean, noisy = ((scores(2, 1), scores(2, 2)), tuple(scores(2, n).masked_fill(padding, -1e4) for n in (1, 2)))
    assert attention_map_loss(*clean, MASK).item() == attention_map_loss(*noisy, MASK).item()


def test_heads_are_compared_one_by_one_and_their_order_together_is_free():
    ours, theirs, order = scores(4, 1), scores(4, 2), [2, 0, 3, 1]
    loss = attention_map_loss(ours, theirs, MASK).item()
    assert attention_map_loss(ours[:, order], theirs[:, order], MASK).item() == pytest.approx(loss, rel=1e-12)
    assert attention_map_loss(ours[:, order], ours, MASK).item() > 0.1


def test_heads_that_differ_in_number_are_compared_by_their_mean():
    ours, theirs = scores(2, 1), scores(4, 2)
    means = ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
    assert attention_map_loss(ours, theirs, MASK).item() == pytest.approx(plain(*means, MASK), rel=1e-12)


def test_averages_over_the_layers_of_a_recipe():
    ours, theirs, others = scores(2, 1), scores(2, 2), scores(4, 3)
    (method,) = load_methods([{"method": "attention-map", "layers": {"a": "x", "b": "y"}}])
    assert method == AttentionMap({"a": "x", "b": "y"})
    student, teacher = (
        Output(torch.zeros(2, 3), features) for features in ({"a": ours, "b": ours}, {"x": theirs, "y": others})
    )
    context = Context(0, 1, torch.arange(2), torch.zeros(2).long(), torch.zeros(2, 3).long(), MASK)
    mean = (attention_map_loss(ours, theirs, MASK) + attention_map_loss(ours, others, MASK)).item() / 2
    assert method(student, teacher, context).item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("theirs", [scores(2, length=4), torch.zeros(2, 3, 8)])
def test_refuses_layers_that_do_not_score_the_same_tokens(theirs):
    student, teacher = Output(torch.zeros(2, 3), {"a": scores(2)}), Output(torch.zeros(2, 3), {"b": theirs})
    context = Context(0, 1, torch.arange(2), torch.zeros(2).long(), torch.zeros(2, 3).long(), MASK)
    with pytest.raises(
        BadInputError, match=r"student layer 'a' and teacher layer 'b': .* not \(2, 3, 3\) and"
    ) as caught:
        AttentionMap({"a": "b"})(student, teacher, context)
    assert "\n" not in str(caught.value)
