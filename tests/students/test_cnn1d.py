"""The 1-D family for sensor windows."""

import onnxruntime
import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.quantization.qat import export_float
from edgekd.recipe import Model
from edgekd.students import build_model, count


def build(shape=(6, 100), **options):
    return build_model(Model(model="cnn1d", options=options), 7, shape).eval()


@pytest.mark.parametrize("options", [{}, {"width": 4, "blocks": 1}, {"width": 3, "blocks": 5, "kernel": 3}])
@pytest.mark.parametrize("shape", [(6, 100), (1, 33)])
def test_gives_logits_for_any_window(options, shape):
    model, windows = build(shape, **options), torch.randn(2, *shape)
    assert model(windows).shape == (2, 7)


def test_the_default_fits_a_microcontroller():
    weights = [16 * 6 * 5, 32 * 16 * 5, 32 * 32 * 5]
    norms, classifier = 2 * (16 + 32 + 32), 32 * 7 + 7
    macs = sum(weight * time for weight, time in zip(weights, (50, 25, 13), strict=True)) + 32 * 7
    assert count(build(), (6, 100)) == (sum(weights) + norms + classifier, macs)
    assert sum(weights) + norms + classifier < 20_000


def test_convolutions_start_with_he_initialisation():
    stage = build((6, 100), width=64).stages[1]
    assert isinstance(stage[0], nn.Conv1d)
    # Standard deviation √(2 / fan out) of 40,960 draws: its own relative error is 1 / √(2·40960) = 0.35 %; six of them.
    assert stage[0].weight.std().item() == pytest.approx((2 / (128 * 5)) ** 0.5, rel=0.021)


def test_exports_what_it_computes():
    model, windows = build(), torch.randn(4, 6, 100)
    session = onnxruntime.InferenceSession(export_float(model, windows).SerializeToString())
    (logits,) = session.run(None, {session.get_inputs()[0].name: windows.numpy()})
    # Two implementations sum at most 5·32 float32 products per value in another order.
    torch.testing.assert_close(torch.from_numpy(logits), model(windows).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"width": 0}, {"blocks": 0}, {"kernel": 4}])
def test_a_wrong_size_is_one_clear_line(options):
    with pytest.raises(BadInputError, match="model 'cnn1d': .*must be positive"):
        build((6, 100), **options)
