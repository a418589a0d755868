"""A cache whose building is to be killed: `killed_cache.py FOLDER [SECONDS_PER_CHUNK]`, every chunk committed."""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.progress import SILENT
from edgekd.recipe import Cache, Data
from edgekd.training import CachedTeacher, Teacher, teacher_cache_files
from edgekd.training.batches import Batches


class Slow(nn.Module):
    def __init__(self, inner: nn.Module, pause: float) -> None:
        super().__init__()
        self.inner, self.pause = inner, pause

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        time.sleep(self.pause)
        return self.inner(inputs)


def build(folder: Path, pause: float = 0.0) -> None:
    teacher_cache_files.COMMIT_SECONDS = 0.0
    teacher_cache_files.CHUNK = 32
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (500, 1, 8, 8), np.uint8), np.arange(500, dtype=np.int64) % 20)
    data = Dataset("noise", split, split, split, tuple("abcdefghijklmnopqrst"), Preprocessing(scale=1 / 255))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 20))
    source = CachedTeacher(Teacher(Slow(network, pause), ("inner.0",), "float32"), folder, SILENT, Cache(top_k=5))
    recipe = Data(name="noise", augmentation=("crop", "flip"))
    source.prepare(Batches(data, recipe, 16, 3, torch.device("cpu")), range(2))


if __name__ == "__main__":
    build(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
