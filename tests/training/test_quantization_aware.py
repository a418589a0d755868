"""The loop serves quantisation-aware fine-tuning: same taps, same resume."""

import copy
import signal

import pytest
import torch
from torch import nn

from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.progress import SILENT
from edgekd.quantization.qat import calibrate, enable_observers, prepare
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Model, Training
from edgekd.students import build_model
from edgekd.training import Distill, Teacher, evaluate, teacher_taps, train
from edgekd.training.batches import Batches
from edgekd.training.taps import Taps

SETTINGS = Training(epochs=2, batch=32, learning_rate=0.02, precision="float32")


def freeze(model, fraction):
    enable_observers(model, fraction < 0.5)
    for module in model.modules():
        if fraction >= 0.5 and isinstance(module, nn.BatchNorm2d):
            module.eval()


def interrupt_midway(model, fraction):
    freeze(model, fraction)
    if fraction == 8 / 12:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def student():
    return build_model(Model(model="resnet", options={"width": 2}), 3, (1, 8, 8), seed=1)


@pytest.fixture
def teacher():
    return build_model(Model(model="resnet", options={"width": 4}), 3, (1, 8, 8), seed=2)


@pytest.mark.parametrize("scheme", ["int8-asymmetric", "int8-symmetric"])
def test_interrupted_and_resumed_it_ends_with_equal_weights(tmp_path, blobs, recipe_data, student, teacher, scheme):
    data = blobs()
    example = Batches(data, recipe_data, 32, 0, torch.device("cpu")).at(torch.arange(32).numpy(), 0).inputs
    fresh = prepare(student, find_scheme(scheme), example)
    calibrate(fresh, [example])

    def learn(folder, on_progress):
        prepared = copy.deepcopy(fresh)
        methods = [KD(), Hint({"stages.2": "stages.2"})]
        objective = Distill(prepared, Teacher(teacher, teacher_taps(methods)), methods)
        trained = train(
            prepared, data, recipe_data, SETTINGS, objective, folder,
            seed=1, key="k", reporter=SILENT, on_progress=on_progress,
        )  # fmt: skip
        return prepared, trained

    unbroken, expected = learn(tmp_path / "unbroken", freeze)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "broken", interrupt_midway)
    resumed, trained = learn(tmp_path / "broken", freeze)
    assert trained.history == expected.history
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert trained.val_metric == evaluate(resumed, data, data.val)


def test_taps_see_what_they_saw_before_but_quantised(student):
    taps = ["stages.2", "stem", "stages.1.0.conv1", "head:input"]
    images = torch.randn(64, 1, 8, 8)
    prepared = prepare(student.eval(), find_scheme("int8-asymmetric"), images)
    calibrate(prepared, [images])
    with Taps(student, taps) as before, Taps(prepared.eval(), taps) as after:
        student(images)
        prepared(images)
    for tap in taps:
        ours, theirs = after.features[tap], before.features[tap]
        assert ours.shape == theirs.shape
        # Up to nine layers in 8 bits, untrained: an error of 20 dB is a tenth of the amplitude.
        assert (ours - theirs).pow(2).mean() < 0.01 * theirs.pow(2).mean(), tap
