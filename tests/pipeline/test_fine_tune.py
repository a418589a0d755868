import copy

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split
from edgekd.errors import BadInputError
from edgekd.pipeline.fine_tune import calibration, recalibrate_if_better, simulated
from edgekd.quantization.qat.learned_step import LearnedQuantizer
from edgekd.quantization.scheme import SCHEMES
from edgekd.recipe import Quantization
from tests.quantization.nets import ResNet, images, lively

SCHEME = SCHEMES["int8-asymmetric"]


@pytest.fixture(scope="module")
def taught():
    """A network and data whose labels are its own answers."""
    net, inputs = lively(ResNet), images(256, seed=5)
    with torch.no_grad():
        net.fc.bias -= net(inputs).mean(0)  # all classes are answered
        labels = net(inputs).argmax(1).numpy()
    split = Split(inputs.numpy(), labels)
    return net, Dataset("own", split, split, split, tuple("abcdefghij"), Preprocessing())


def ready(taught, **settings):
    net, data = copy.deepcopy(taught[0]), taught[1]
    samples = calibration(data, seed=0, count=128)
    return simulated(net, SCHEME, samples, Quantization(epochs=1, **settings)), data, samples


def test_statistics_that_lag_behind_are_mended(taught):
    prepared, data, samples = ready(taught)
    norm = next(module for module in prepared.modules() if isinstance(module, nn.BatchNorm2d))
    right = norm.running_mean.clone()
    norm.running_mean += 2
    assert recalibrate_if_better(prepared, data, samples)
    assert (norm.running_mean - right).abs().max() < 0.2  # 128 samples of 256


def test_statistics_that_would_cost_accuracy_are_not_kept(taught):
    prepared, data, samples = ready(taught)
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    assert not recalibrate_if_better(prepared, data, [0 * batch for batch in samples])
    assert all(torch.equal(before[name], value) for name, value in prepared.state_dict().items())


def test_a_network_without_norms_is_left_alone(taught):
    samples = [torch.from_numpy(np.zeros((2, 3, 12, 12), np.float32))]
    assert not recalibrate_if_better(nn.Sequential(nn.Flatten(), nn.Linear(432, 10)), taught[1], samples)


def test_ranges_are_followed_or_learned(taught):
    kinds = [
        any(isinstance(m, LearnedQuantizer) for m in ready(taught, **s)[0].modules()) for s in ({}, {"ranges": "lsq"})
    ]
    assert kinds == [False, True]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 1, "ranges": "mse"}, "'mse' is for calibration only"),
        ({"epochs": 1, "equalize": True}, "for calibration only"),
        ({"epochs": 1, "correct_bias": False}, "for calibration only"),
        ({"epochs": 0, "ranges": "lsq"}, "'lsq' learns ranges in a fine-tune"),
    ],
)
def test_settings_that_the_other_way_has_no_use_for_are_refused(settings, words):
    with pytest.raises(BadInputError, match=words):
        Quantization.parse(settings, "recipe")
