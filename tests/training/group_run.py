"""A training for several processes: `group_run.py FOLDER [SECONDS_PER_STEP]` trains, and leaves losses and weights."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.distillation.kd import KD
from edgekd.progress import SILENT
from edgekd.recipe import Data, Training
from edgekd.training import Distill, Teacher, train
from edgekd.training.processes import process_group
from edgekd.training.weights import save_tensors


def network(width: int) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.GroupNorm(2, width), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 3)
    )  # fmt: skip


def main(folder: Path, pause: float) -> None:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (80, 1, 8, 8), np.uint8), np.arange(80, dtype=np.int64) % 3)
    data = Dataset("noise", split, split, split, ("a", "b", "c"), Preprocessing(scale=1 / 255))
    settings = Training(epochs=20, batch=64, learning_rate=0.05, ema=0.9, precision="float32")  # one step per epoch
    student = network(4)
    objective = Distill(student, Teacher(network(6)), [KD()])
    slow = (lambda *_: time.sleep(pause)) if pause else None
    trained = train(
        student, data, Data(name="noise", augmentation=("crop",)), settings, objective, folder,
        seed=3, key="k", reporter=SILENT, on_progress=slow,
    )  # fmt: skip
    losses = [record["loss"] for record in trained.history]
    place = folder / f"process-{process_group().number}"
    save_tensors(student.state_dict(), place.with_suffix(".safetensors"))
    place.with_suffix(".json").write_text(json.dumps({"processes": process_group().size, "losses": losses}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
