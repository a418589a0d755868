"""Relations of probabilities, held against Pearson's definition in plain float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekd.distillation import load_methods
from edgekd.distillation.dist import dist_loss
from edgekd.errors import BadInputError

# Far enough apart that no row or column is constant, where the loops would divide by zero.
LOGITS = arrays(np.float64, (3, 4), elements=st.floats(-10, 10), unique=True)


def softmax(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def pearson(first, second):
    centred = [[value - sum(values) / len(values) for value in values] for values in (first, second)]
    dot = sum(a * b for a, b in zip(*centred, strict=True))
    lengths = [math.sqrt(sum(value * value for value in values)) for values in centred]
    # Shorter than the loss's own bound, both sides call the values constant.
    return 0.0 if min(lengths) < 1e-12 else dot / (lengths[0] * lengths[1])


def plain_dist(student, teacher, beta, gamma, temperature):
    ours, theirs = ([softmax([v / temperature for v in row]) for row in rows] for rows in (student, teacher))
    rows = [1 - pearson(a, b) for a, b in zip(ours, theirs, strict=True)]
    columns = [1 - pearson(a, b) for a, b in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)]
    return temperature**2 * (beta * sum(rows) / len(rows) + gamma * sum(columns) / len(columns))


@given(LOGITS, LOGITS, st.floats(0, 4), st.floats(0, 4), st.floats(1.0, 10.0))
def test_is_the_definition(student, teacher, beta, gamma, temperature):
    # A column of tiny probabilities keeps few digits of its deviation, in the loops and in the loss.
    loss = dist_loss(torch.from_numpy(student), torch.from_numpy(teacher), beta, gamma, temperature)
    plain = plain_dist(student.tolist(), teacher.tolist(), beta, gamma, temperature)
    assert loss.item() == pytest.approx(plain, rel=1e-3, abs=1e-3)


def test_is_the_definition_to_the_last_digits():
    student, teacher = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    plain = plain_dist(student.tolist(), teacher.tolist(), 1.0, 2.0, 4.0)
    assert dist_loss(student, teacher, 1.0, 2.0, 4.0).item() == pytest.approx(plain, rel=1e-12)


def test_is_zero_for_an_equal_student():
    # float64: a correlation of 1 to 16 digits, times T².
    teacher = torch.randn(4, 5, dtype=torch.float64)
    assert dist_loss(teacher, teacher, 1.0, 1.0, 4.0).item() == pytest.approx(0.0, abs=1e-12)


def test_gradient_is_that_of_the_value():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: dist_loss(logits, teacher, 2.0, 2.0, 4.0), student)


@given(
    arrays(np.float32, st.sampled_from([(3, 4), (1, 4), (3, 1)]), elements=st.sampled_from([-1e4, -1.0, 0.0, 1e4])),
    st.booleans(),
)
def test_stays_finite_in_float32(logits, equal):
    student = torch.from_numpy(logits).requires_grad_(True)
    teacher = student.detach() if equal else -student.detach()
    loss = dist_loss(student, teacher, 1.0, 1.0, 4.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_has_nothing_to_say_of_the_batch_when_it_is_one_sample():
    # Constant columns correlate 0: gamma adds T² and no gradient.
    student = torch.randn(1, 4, requires_grad=True)
    loss = dist_loss(student, torch.randn(1, 4), 0.0, 1.0, 2.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 4.0
    assert not gradient.any()


def test_refuses_no_temperature():
    with pytest.raises(BadInputError, match="temperature"):
        load_methods([{"method": "dist", "temperature": 0}])
