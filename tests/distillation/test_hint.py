"""Hints and their regressors."""

import pytest
import torch
from torch import nn

from edgekd.distillation import Builds, Context, Example, Output
from edgekd.distillation.hint import Hint, hint_loss, regressor
from edgekd.errors import BadInputError


def context(module=None):
    return Context(0, 1, torch.arange(2), torch.zeros(2, dtype=torch.long), torch.zeros(2, 1), module=module)


def test_is_the_mean_squared_error():
    ours, theirs = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    plain = sum((a - b) ** 2 for a, b in zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True)) / 24
    assert hint_loss(ours, theirs).item() == pytest.approx(plain, rel=1e-12)
    assert torch.autograd.gradcheck(lambda feature: hint_loss(feature, theirs), ours.requires_grad_(True))


@pytest.mark.parametrize(
    ("ours", "theirs", "kinds"),
    [
        ((2, 8, 7, 7), (2, 8, 7, 7), []),
        ((2, 8, 7, 7), (2, 16, 7, 7), [nn.Conv2d]),
        ((2, 8, 14, 14), (2, 16, 7, 5), [nn.AdaptiveAvgPool2d, nn.Conv2d]),
        ((2, 8, 14), (2, 8, 7), [nn.AdaptiveAvgPool1d]),
        ((2, 8, 14), (2, 4, 14), [nn.Conv1d]),
        ((2, 8), (2, 4), [nn.Linear]),
    ],
)
def test_regressor_does_no_more_than_the_shapes_need(ours, theirs, kinds):
    fit = regressor(torch.randn(ours), torch.randn(theirs))
    assert [type(layer) for layer in fit] == kinds
    assert fit(torch.randn(ours)).shape == theirs


def test_refuses_to_bring_a_vector_to_an_image():
    with pytest.raises(BadInputError, match=r"\(8,\) to \(4, 7, 7\)"):
        regressor(torch.randn(2, 8), torch.randn(2, 4, 7, 7))


def test_names_the_layers_that_no_regressor_joins():
    student = Output(torch.zeros(2, 3), {"a": torch.ones(2, 8)})
    teacher = Output(torch.zeros(2, 3), {"x": torch.ones(2, 4, 7, 7)})
    with pytest.raises(BadInputError, match=r"student layer 'a' and teacher layer 'x': .*\(8,\) to \(4, 7, 7\)"):
        Hint({"a": "x"}).build(Example(nn.Identity(), nn.Identity(), student, teacher, torch.zeros(2)))


def test_averages_over_the_pairs_of_layers():
    method = Hint({"a": "x", "b": "y"}, weight=2.0)
    assert isinstance(method, Builds)
    assert (method.student_taps, method.teacher_taps) == (("a", "b"), ("x", "y"))
    student = Output(torch.zeros(2, 3), {"a": torch.ones(2, 4), "b": torch.zeros(2, 4)})
    teacher = Output(torch.zeros(2, 3), {"x": torch.zeros(2, 4), "y": torch.zeros(2, 4)})
    module = method.build(Example(nn.Identity(), nn.Identity(), student, teacher, torch.zeros(2)))
    assert method(student, teacher, context(module)).item() == 0.5  # (1 + 0) / 2, the weight is the objective's
