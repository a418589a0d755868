"""What every method on pairs of features promises: finite gradients, means, masks, errors that name the layers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch.testing import assert_close

from edgekd.distillation import Context, Output, load_methods
from edgekd.distillation.attention import Attention, attention_loss
from edgekd.distillation.nst import NST, nst_loss
from edgekd.distillation.pkt import PKT, pkt_loss
from edgekd.distillation.rkd import RKD, rkd_loss
from edgekd.distillation.similarity import Similarity, similarity_loss
from edgekd.errors import BadInputError

OF_MAPS = {Similarity: similarity_loss, Attention: attention_loss, NST: nst_loss}
OF_EMBEDDINGS = {RKD: rkd_loss, PKT: pkt_loss}
ALL = OF_MAPS | OF_EMBEDDINGS
VALUES = st.sampled_from([-1e4, -1e-30, 0.0, 1e-20, 1e-8, 1.0, 1e4])
SHAPES = array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=3)


def context(mask=None):
    return Context(0, 1, torch.arange(2), torch.zeros(2, dtype=torch.long), torch.zeros(2, 1), mask=mask)


def output(**features):
    return Output(torch.zeros(2, 3), features)


@pytest.mark.parametrize("method", ALL)
@given(feature=SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=VALUES)), teacher=st.sampled_from("=-0"))
def test_gradients_are_finite(method, feature, teacher):
    # Zeros, rounding dust, 1e4, one sample, one channel, one position; a teacher that is equal, opposite or silent.
    student = torch.from_numpy(feature).requires_grad_(True)
    target = student.detach() * {"=": 1.0, "-": -1.0, "0": 0.0}[teacher]
    loss = method({"a": "b"})(output(a=student), output(b=target), context())
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("method", ALL)
def test_an_equal_student_has_nothing_to_learn(method):
    feature = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    loss = method({"a": "b"})(output(a=feature), output(b=feature.clone()), context())
    assert loss.item() == pytest.approx(0.0, abs=1e-15)  # float64 rounding


@pytest.mark.parametrize("method", ALL)
def test_a_silent_student_does_not_explode(method):
    student = torch.zeros(3, 2, 2, 2, requires_grad=True)
    loss = method({"a": "b"})(output(a=student), output(b=torch.randn(3, 4, 2, 2)), context())
    (gradient,) = torch.autograd.grad(loss, student)
    assert not gradient.any()


@pytest.mark.parametrize(("method", "loss"), OF_MAPS.items())
def test_maps_are_averaged_over_the_pairs(method, loss):
    a, b, x, y = (torch.randn(2, channels, 4, 4) for channels in (3, 5, 4, 2))
    value = method({"a": "x", "b": "y"})(output(a=a, b=b), output(x=x, y=y), context())
    assert_close(value, (loss(a, x) + loss(b, y)) / 2)


@pytest.mark.parametrize(("method", "loss"), OF_EMBEDDINGS.items())
def test_maps_become_embeddings_by_their_mean(method, loss):
    ours, theirs = torch.randn(3, 4, 5, 5), torch.randn(3, 6)
    value = method({"a": "x"})(output(a=ours), output(x=theirs), context())
    assert_close(value, loss(ours.mean((2, 3)), theirs))


@pytest.mark.parametrize("method", ALL)
def test_padding_does_not_count(method):
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    tokens, teacher = torch.randn(3, 3, 4), torch.randn(3, 3, 5)
    noisy = tokens.masked_fill(~mask[..., None], 7.0)
    losses = [method({"a": "b"})(output(a=ours), output(b=teacher), context(mask)) for ours in (tokens, noisy)]
    assert_close(*losses)


@pytest.mark.parametrize(("method", "loss"), OF_EMBEDDINGS.items())
def test_sentences_become_embeddings_by_the_mean_of_their_tokens(method, loss):
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    tokens, theirs = torch.randn(3, 3, 4), torch.randn(3, 5)
    means = torch.stack([sentence[real].mean(0) for sentence, real in zip(tokens, mask, strict=True)])
    assert_close(method({"a": "b"})(output(a=tokens), output(b=theirs), context(mask)), loss(means, theirs))


@pytest.mark.parametrize("method", [Attention, NST])
def test_features_without_common_positions_are_named(method):
    with pytest.raises(
        BadInputError, match=r"student layer 'a' and teacher layer 'b'.*\(3, 4, 4\) and \(8,\)"
    ) as caught:
        method({"a": "b"})(output(a=torch.randn(2, 3, 4, 4)), output(b=torch.randn(2, 8)), context())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["attention", "hint", "nst", "pkt", "rkd", "similarity"])
@pytest.mark.parametrize(
    ("layers", "message"), [({}, "at least 1"), ({"stages.*": "b"}, r"'stages\.\*' is a pattern"), (None, "layers")]
)
def test_a_wrong_pairing_is_refused(name, layers, message):
    with pytest.raises(BadInputError, match=message):
        load_methods([{"method": name, "layers": layers}])
