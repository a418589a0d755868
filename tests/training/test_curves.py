"""What TensorBoard is told, read back as TensorBoard reads it."""

import importlib.machinery
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgekd.errors import MissingExtraError
from edgekd.progress import Reporter
from edgekd.recipe import Training
from edgekd.training import LabelLoss, train

DRAWN = Reporter(quiet=True, tensorboard=True)
SETTINGS = Training(epochs=3, batch=16, precision="float32")  # 12 steps an epoch


def learn(folder, blobs, network, recipe_data, on_progress=None):
    arguments = network(), blobs(), recipe_data, SETTINGS, LabelLoss(), folder
    return train(*arguments, seed=1, key="k", reporter=DRAWN, on_progress=on_progress)


def curves(folder):
    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_every_epoch_and_every_tenth_step_is_drawn_once_though_broken_off(tmp_path, blobs, network, recipe_data):
    def break_off(model, fraction):
        if fraction == 32 / 36:  # the last checkpoint is of step 24: step 30 will be taken again
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learn(tmp_path, blobs, network, recipe_data, break_off)
    trained = learn(tmp_path, blobs, network, recipe_data)
    drawn = curves(tmp_path)
    assert drawn.keys() == {
        "step/loss", "step/cross_entropy",
        "epoch/loss", "epoch/cross_entropy", "epoch/val", "epoch/learning_rate",
    }  # fmt: skip
    assert [step for step, _ in drawn["step/loss"]] == [0, 10, 20, 30]
    for name in ("loss", "val", "learning_rate"):
        steps, values = zip(*drawn[f"epoch/{name}"], strict=True)
        assert steps == (11, 23, 35)
        assert values == pytest.approx([record[name] for record in trained.history], rel=1e-6)  # kept as float32


def test_nothing_is_drawn_unasked_and_its_absence_is_one_clear_line(tmp_path, blobs, network, recipe_data, monkeypatch):
    arguments = network(), blobs(), recipe_data, SETTINGS, LabelLoss(), tmp_path
    train(*arguments, seed=1, key="k", reporter=Reporter(quiet=True))
    assert not (tmp_path / "tensorboard").exists()
    find = importlib.machinery.PathFinder.find_spec
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    monkeypatch.setattr(
        importlib.machinery.PathFinder,
        "find_spec",
        lambda name, *more: None if name == "tensorboard" else find(name, *more),
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekd\[tensorboard\]'"):
        learn(tmp_path / "other", blobs, network, recipe_data)
