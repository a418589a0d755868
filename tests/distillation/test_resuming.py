"""Methods with parts, memories and schedules of their own: a run that broke off ends as one that was left alone."""

import numpy as np
import pytest
import torch

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.distillation import load_methods
from edgekd.progress import SILENT
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training import Distill, Teacher, teacher_taps, train
from edgekd.training.weights import read_tensors

ENTRIES = (
    {"method": "crd", "negatives": 8, "dimension": 4},
    {"method": "mutual"},
    {"method": "review", "layers": {"stages.1": "stages.1", "stages.2": "stages.2"}},
    {"method": "simkd"},
    {"method": "taid"},
)
STEPS = 12


class LostPowerError(Exception):
    """What no one catches."""


@pytest.fixture
def noise():
    """48 images of noise in 3 classes: what is learned does not matter here."""
    random = np.random.default_rng(0)

    def split(count):
        return Split(random.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8), np.arange(count, dtype=np.int64) % 3)

    preprocessing = Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.3,))
    return Dataset("noise", split(48), split(12), split(12), ("a", "b", "c"), preprocessing)


def run(folder, data, breaks_at=None):
    def on_progress(_, fraction):
        if breaks_at is not None and fraction >= breaks_at:
            raise LostPowerError

    def network(width):
        return build_model(Model(model="resnet", options={"depth": 8, "width": width}), 3, (1, 8, 8), seed=width)

    methods, student = load_methods(ENTRIES), network(4)
    objective = Distill(student, Teacher(network(6), teacher_taps(methods)), methods)
    settings = Training(epochs=4, batch=16, learning_rate=0.01, precision="float32")
    trained = train(
        student, data, Data(name="noise"), settings, objective, folder, seed=0, key="k", reporter=SILENT,
        on_progress=on_progress,
    )  # fmt: skip
    return trained, objective.modules


def test_all_of_their_state_is_in_the_checkpoint(tmp_path, noise):
    unbroken, modules = run(tmp_path / "unbroken", noise)
    with pytest.raises(LostPowerError):
        run(tmp_path / "broken", noise, breaks_at=0.6)  # in the third epoch of four
    resumed, _ = run(tmp_path / "broken", noise)
    assert set(modules) == {"crd", "mutual", "review", "simkd", "taid"}
    for name in ("best.safetensors", f"checkpoint.{STEPS}.safetensors"):
        ours, theirs = (read_tensors(tmp_path / run / name) for run in ("broken", "unbroken"))
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), key  # bit-equal: no tolerance
    assert resumed.history == unbroken.history
    assert any(key.startswith("head.1.") for key in unbroken.model.state_dict())  # the teacher's head is deployed
