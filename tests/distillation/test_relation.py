"""Relations of self-attention, held against MiniLMv2's equations in plain float64 loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.relation import Relation, relation_loss
from edgekd.errors import BadInputError

MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])
WHOLE = torch.ones(2, 4, dtype=torch.bool)


def states(width, seed=0):
    return torch.randn(2, 4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def relation(vectors, head, heads):
    """Rows of softmax(x xᵀ / √d) among one sample's real tokens, for one relation head."""
    width = len(vectors[0]) // heads
    parts = [vector[head * width : (head + 1) * width] for vector in vectors]
    return [softmax([sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(width) for y in parts]) for x in parts]


def plain(student, teacher, heads, mask):
    divergences = []
    for ours, theirs, real in zip(student.tolist(), teacher.tolist(), mask.tolist(), strict=True):
        kept = [[vector for vector, keep in zip(rows, real, strict=True) if keep] for rows in (ours, theirs)]
        for head in range(heads):
            for q, p in zip(*(relation(vectors, head, heads) for vectors in kept), strict=True):
                divergences.append(sum(b * math.log(b / a) for a, b in zip(q, p, strict=True)))
    return sum(divergences) / len(divergences)


def context(mask=MASK):
    return Context(0, 1, torch.arange(2), torch.zeros(2).long(), torch.zeros(2, 4).long(), mask)


def output(layer, *parts):
    features = zip(("query", "key", "value"), parts, strict=False)
    return Output(torch.zeros(2, 3), {f"{layer}.{name}": part for name, part in features})


@pytest.mark.parametrize("mask", [MASK, WHOLE])
@pytest.mark.parametrize("heads", [1, 2, 4])
@given(seed=st.integers(0, 99))
def test_is_the_definition(mask, heads, seed):
    # Widths differ. Both in float64; the loops lose digits by exp and log apart.
    ours, theirs = states(4, seed), states(8, seed + 100)
    expected = plain(ours, theirs, heads, mask)
    assert relation_loss(ours, theirs, heads, mask).item() == pytest.approx(expected, rel=1e-9)


def test_without_a_mask_all_tokens_are_real():
    ours, theirs = states(4, 1), states(8, 2)
    assert relation_loss(ours, theirs, 2).item() == pytest.approx(plain(ours, theirs, 2, WHOLE), rel=1e-9)


def test_gradient_is_that_of_the_value():
    ours, theirs = states(4, 1).requires_grad_(True), states(8, 2)
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, theirs, 2, MASK), ours)


def test_what_stands_in_padding_changes_nothing_and_gets_no_gradient():
    ours, theirs = states(4, 1), states(8, 2)
    noisy = ours.masked_fill(~MASK[..., None], 30.0).requires_grad_(True)
    loss = relation_loss(noisy, theirs.masked_fill(~MASK[..., None], -30.0), 2, MASK)
    (gradient,) = torch.autograd.grad(loss, noisy)
    assert loss.item() == relation_loss(ours, theirs, 2, MASK).item()
    assert not gradient[~MASK].any()


def test_a_sample_without_tokens_counts_for_nothing():
    ours, theirs, mask = states(4, 1).requires_grad_(True), states(8, 2), MASK.clone()
    mask[1] = False
    loss = relation_loss(ours, theirs, 2, mask)
    (gradient,) = torch.autograd.grad(loss, ours)
    assert loss.item() == pytest.approx(plain(ours[:1], theirs[:1], 2, mask[:1]), rel=1e-9)
    assert gradient.isfinite().all()


def test_relations_do_not_see_a_rotation_or_the_order_of_heads():
    ours = states(8, 1)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    heads = ours.reshape(2, 4, 2, 4)
    assert relation_loss((heads @ rotation).flatten(2), ours, 2, MASK).item() == pytest.approx(0.0, abs=1e-12)
    theirs = states(8, 2)
    swapped = [x.reshape(2, 4, 2, 4).flip(2).flatten(2) for x in (ours, theirs)]
    expected = relation_loss(ours, theirs, 2, MASK).item()
    assert relation_loss(*swapped, 2, MASK).item() == pytest.approx(expected, rel=1e-12)


def test_stays_finite_in_float32():
    ours = (states(8, 1).float() * 1e4).requires_grad_(True)
    loss = relation_loss(ours, -states(8, 2).float() * 1e4, 2, MASK)
    (gradient,) = torch.autograd.grad(loss, ours)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_sums_over_the_relations():
    ours, theirs = [states(4, seed) for seed in range(3)], [states(8, seed) for seed in range(10, 13)]
    each = [relation_loss(a, b, 2, MASK).item() for a, b in zip(ours, theirs, strict=True)]
    method = Relation("s", "t", relation_heads=2)
    assert method(output("s", *ours), output("t", *theirs), context()).item() == pytest.approx(sum(each), rel=1e-12)


def test_of_values_alone_taps_nothing_else():
    (method,) = load_methods(
        [{"method": "relation", "student_layer": "s", "teacher_layer": "t", "relations": ["value"]}]
    )
    assert (method.student_taps, method.teacher_taps) == (("s.value",), ("t.value",))


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (states(9), "relation_heads = 2 must divide both widths, 4 and 9"),
        (torch.zeros(2, 5, 8), r"states \(L, D\) of the same tokens, not \(4, 4\) and \(5, 8\)"),
        (torch.zeros(2, 8), "not"),
    ],
)
def test_refuses_what_cannot_be_related(theirs, message):
    method = Relation("s", "t", relations=("query",), relation_heads=2)
    with pytest.raises(
        BadInputError, match="student layer 's.query' and teacher layer 't.query': .*" + message
    ) as caught:
        method(output("s", states(4)), output("t", theirs), context())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"relations": []}, {"relations": ["output"]}, {"relation_heads": 0}])
def test_refuses_wrong_parameters(wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        load_methods([{"method": "relation", "student_layer": "s", "teacher_layer": "t"} | wrong])
