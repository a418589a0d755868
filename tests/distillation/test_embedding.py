"""Direction and structure of embeddings, held against both papers in plain float64 loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.embedding import Embedding, embedding_loss
from edgekd.errors import BadInputError


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def plain(student, teacher, structure):
    count = len(student)
    direction = sum(1 - cosine(a, b) for a, b in zip(student, teacher, strict=True)) / count
    differences = [
        cosine(student[i], student[j]) - cosine(teacher[i], teacher[j]) for i in range(count) for j in range(count)
    ]
    return direction + structure * sum(value**2 for value in differences) / count**2


@given(st.integers(0, 99), st.floats(0, 10))
def test_is_the_definition(seed, structure):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    loss = embedding_loss(student, teacher, structure)
    assert loss.item() == pytest.approx(plain(student.tolist(), teacher.tolist(), structure), rel=1e-12)


def test_gradient_is_that_of_the_value():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda embedding: embedding_loss(embedding, teacher), student)


def test_lengths_do_not_matter_and_the_same_direction_is_the_goal():
    teacher = torch.randn(3, 4, dtype=torch.float64)
    lengths = torch.tensor([[0.1], [1.0], [30.0]], dtype=torch.float64)
    assert embedding_loss(lengths * teacher, teacher).item() == pytest.approx(0.0, abs=1e-15)  # float64 rounding


def test_a_rotation_keeps_the_structure():
    student = torch.randn(4, 6, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    bare, whole = (embedding_loss(student @ rotation, student, structure).item() for structure in (0.0, 4.0))
    assert whole == pytest.approx(bare, rel=1e-12)
    assert bare > 0.1


def test_needs_no_labels_and_loads_from_a_recipe():
    student, teacher = torch.randn(2, 4), torch.randn(2, 4)
    unlabelled = Context(0, 1, torch.arange(2), torch.full((2,), torch.nan), torch.ones(2, 3).long())
    (method,) = load_methods([{"method": "embedding", "structure": 0.0}])
    assert method == Embedding(structure=0.0)
    assert method(Output(student), Output(teacher), unlabelled) == embedding_loss(student, teacher, 0.0)
    with pytest.raises(BadInputError, match="structure"):
        load_methods([{"method": "embedding", "structure": -1}])
