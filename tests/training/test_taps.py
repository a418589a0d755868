"""Taps on eager and traced networks."""

import pytest
import torch
from torch import fx, nn

from edgekd.errors import BadInputError
from edgekd.recipe import Model
from edgekd.students import build_model
from edgekd.training.taps import Taps

IMAGES = torch.randn(2, 1, 12, 12)


@pytest.fixture
def resnet():
    return build_model(Model(model="resnet", options={"depth": 14, "width": 4}), 3, (1, 12, 12)).eval()


def test_reads_outputs_and_inputs_by_name(resnet):
    with Taps(resnet, ["stages.2", "head:input", "stem"]) as taps:
        logits = resnet(IMAGES)
    stem = resnet.stem(IMAGES)
    assert torch.equal(taps.features["stem"], stem)
    assert torch.equal(taps.features["stages.2"], resnet.stages(stem))
    assert torch.equal(taps.features["head:input"], resnet.stages(stem))
    assert torch.equal(resnet.head(taps.features["stages.2"]), logits)


def test_a_star_is_one_level(resnet):
    with Taps(resnet, ["stages.*"]) as taps:
        resnet(IMAGES)
    assert list(taps.features) == ["stages.0", "stages.1", "stages.2"]


def test_features_carry_gradients(resnet):
    with Taps(resnet, ["stem"]) as taps:
        resnet(IMAGES)
    taps.features["stem"].sum().backward()
    assert resnet.stem[0].weight.grad.abs().sum() > 0
    assert resnet.head[2].weight.grad is None


def test_leaves_the_network_unchanged(resnet):
    before = resnet(IMAGES)
    with Taps(resnet, ["stages.*", "stem:input"]):
        pass
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in resnet.modules())
    assert torch.equal(resnet(IMAGES), before)


def test_work_in_place_does_not_reach_a_feature():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    with Taps(model, ["0"]) as taps:
        model(IMAGES)
    assert (taps.features["0"] < 0).any()


@pytest.mark.parametrize("tap", ["stages.2", "stages.0.1", "head:input", "stages.1:input", "stages.2.0.conv1"])
def test_a_traced_network_shows_the_same_features(resnet, tap):
    traced = fx.symbolic_trace(resnet)
    with Taps(resnet, [tap]) as eager, Taps(traced, [tap]) as graph:
        resnet(IMAGES)
        traced(IMAGES)
    assert torch.equal(eager.features[tap], graph.features[tap])


def test_a_wrong_name_is_one_clear_line(resnet):
    with pytest.raises(BadInputError, match=r"no module 'stage\.2' to tap; did you mean 'stages\.2'\?"):
        Taps(resnet, ["stage.2"])
    with pytest.raises(BadInputError, match="no module"):
        Taps(resnet, ["stages.*.nothing"])


def test_a_tuple_cannot_be_tapped():
    model = nn.Sequential(nn.LSTM(4, 4))
    with Taps(model, ["0"]), pytest.raises(BadInputError, match="tap '0' carries a tuple"):
        model(torch.randn(3, 4))
