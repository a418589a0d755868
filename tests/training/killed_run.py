"""A training to be killed: `killed_run.py FOLDER [SECONDS_PER_STEP]`, with a checkpoint after every step."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.progress import SILENT
from edgekd.recipe import Data, Training
from edgekd.training import CachedTeacher, Distill, Teacher, loop, train


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    convolution = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(convolution, nn.Dropout(0.2), nn.Flatten(), nn.Linear(64 * width, 3))


def main(folder: Path, pause: float = 0.0) -> None:
    loop.CHECKPOINT_SECONDS = 0.0
    torch.backends.cudnn.allow_tf32 = False  # on a GPU: as in the process of the tests
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (96, 1, 8, 8), np.uint8), np.arange(96, dtype=np.int64) % 3)
    data = Dataset("noise", split, split, split, ("a", "b", "c"), Preprocessing(scale=1 / 255))
    recipe_data = Data(name="noise", augmentation=("crop", "flip"), views=2)
    settings = Training(epochs=4, batch=16, ema=0.9, label_smoothing=0.1)
    student, source = network(4), CachedTeacher(Teacher(network(6), ("0",)), folder / "cache", SILENT)
    objective = Distill(student, source, [KD(), Hint({"0": "0"})], label_smoothing=0.1)
    slow = (lambda *_: time.sleep(pause)) if pause else None
    train(student, data, recipe_data, settings, objective, folder, seed=3, key="k", reporter=SILENT, on_progress=slow)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
