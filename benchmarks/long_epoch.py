"""A long epoch in two processes: memory that stays where it is, and the same losses after a kill.

torchrun starts two processes in which a small network learns from a source of 300,000 entries of 224×224 that repeats
20,000 images. These lie in a file, made once from a seed; each is read from there anew, as a file of its own would be.
The training is stopped 300 steps before the end of its epoch. From there it goes to the end, and once more, killed
within these steps (SIGKILL, every process) and resumed from its last checkpoint.

`torchrun --nproc-per-node 2 -m benchmarks.long_epoch FOLDER IMAGES STOP` is one of these launches; STOP 0 is the end.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.process_tree import kill, resident, tree
from edgekd.data import as_dataset
from edgekd.files import atomic_path
from edgekd.progress import SILENT
from edgekd.recipe import Data, Training
from edgekd.training import LabelLoss, loop, train
from edgekd.training.batches import Batch
from edgekd.training.loop import HISTORY, WEIGHTS
from edgekd.training.precision import Run
from edgekd.training.processes import process_group

SHAPE, DISTINCT, CLASSES = (3, 224, 224), 20_000, 10
SIZE = int(np.prod(SHAPE))
ENTRIES, BATCH, EARLY, LATE = 300_000, 64, 1_000, 250_000
STEPS, LAST = ENTRIES // BATCH, 300
PROCESSES = 2
CHECKPOINT_SECONDS = 2.0  # so that there is one between the stop and the kill


class Repeating:
    """`count` entries, of which `DISTINCT` differ; `read` counts how often one was asked for."""

    def __init__(self, images: Path, count: int) -> None:
        self._images, self.targets, self.read = images, np.arange(count) % CLASSES, 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[NDArray[np.uint8], int]:
        self.read += 1
        image = np.fromfile(self._images, np.uint8, SIZE, offset=place % DISTINCT * SIZE)
        return image.reshape(SHAPE), int(self.targets[place])


class Watched(LabelLoss):
    """The labels' loss; each process writes its own; the first one also what was read and is in memory."""

    def __init__(self, folder: Path, source: Repeating, stop: int) -> None:
        super().__init__()
        self._folder, self._source, self._stop, self._begun = folder, source, stop, False

    def __call__(self, run: Run, batch: Batch, step: int, total_steps: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss; after step number `stop` the training is asked to end."""
        loss, terms = super().__call__(run, batch, step, total_steps)
        number = process_group().number
        self._write(f"losses-{number}", step, loss.item())
        if number == 0:
            if not self._begun:
                self._write("first", step, self._source.read)
            for entry in (EARLY, LATE):
                if step == entry // BATCH:
                    self._write("memory", entry, *map(resident, tree(os.getppid())))
            if step + 1 == self._stop:
                os.kill(os.getpid(), signal.SIGTERM)
        self._begun = True
        return loss, terms

    def _write(self, name: str, *numbers: float) -> None:
        with (self._folder / name).open("a") as file:
            file.write(" ".join(map(repr, numbers)) + "\n")


def written(path: Path) -> list[list[float]]:
    """The lines of numbers in a file."""
    return [[float(word) for word in line.split()] for line in path.read_text().splitlines()] if path.is_file() else []


def network() -> nn.Module:
    """All that has a state of its own: weights with momentum, statistics, random numbers."""
    torch.manual_seed(0)
    first = [nn.Conv2d(SHAPE[0], 16, 3, 8), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))


def learn(folder: Path, images: Path, stop: int) -> None:
    """One process's part of a launch."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = CHECKPOINT_SECONDS
    source, held_out = Repeating(images, ENTRIES), Repeating(images, 100)
    data = as_dataset((source, held_out, held_out))
    with suppress(KeyboardInterrupt):  # that is how a training ends that was asked to
        train(
            network(), data, Data(name="repeating", augmentation=("flip",)), Training(epochs=1, batch=BATCH),
            Watched(folder, source, stop), folder, seed=0, key="long epoch", reporter=SILENT,
        )  # fmt: skip


@contextmanager
def launched(folder: Path, images: Path, stop: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """The processes of a launch, which are killed where the block leaves them; what they say is added to `said.txt`."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    with (folder / "said.txt").open("ab") as said:
        arguments = [*torchrun, "-m", "benchmarks.long_epoch", folder, images, str(stop)]
        launcher = subprocess.Popen(arguments, env=environment, stdout=said, stderr=said)
    try:
        yield launcher
    finally:
        if launcher.poll() is None:
            kill(launcher.pid)
            launcher.wait()


def finish(folder: Path, images: Path, stop: int = 0) -> None:
    """Let a launch go to its end."""
    with launched(folder, images, stop) as launcher:
        subprocess.CompletedProcess(launcher.args, launcher.wait()).check_returncode()


def kill_after(folder: Path, images: Path, step: int) -> None:
    """Let a launch pass a step."""
    with launched(folder, images) as launcher:
        while written(folder / "losses-0")[-1][0] < step:
            if launcher.poll() is not None:
                raise RuntimeError(f"ended before step {step}, see {folder}")
            time.sleep(0.1)


def make_images(path: Path) -> Path:
    """Noise, as bright as its class is high; 3 GB, written once."""
    if not path.is_file():
        random = np.random.default_rng(0)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            for place in range(DISTINCT):
                noise = random.integers(0, 256, SIZE, np.uint8) >> 1
                file.write((noise + np.uint8(10 * (place % CLASSES))).data)
    return path


def measure(out: Path) -> dict[str, Any]:
    """Memory, what a resumed training reads, and what a kill changes."""
    images, (begun, whole, killed) = out / "images.u8", (out / name for name in ("begun", "whole", "killed"))
    for folder in (begun, whole, killed):
        shutil.rmtree(folder, ignore_errors=True)
    begun.mkdir(parents=True)
    make_images(images)
    finish(begun, images, STEPS - LAST)
    for folder in (whole, killed):
        shutil.copytree(begun, folder)
    finish(whole, images)
    kill_after(killed, images, STEPS - LAST // 2)
    finish(killed, images)
    return {"processes": PROCESSES} | memory(begun) | reading(whole) | repeating(whole, killed)


def memory(folder: Path) -> dict[str, Any]:
    """Of all processes, the launcher included; the other one is anywhere in its step, a batch more or less."""
    taken = {int(entry): [*map(int, each)] for entry, *each in written(folder / "memory")}
    grown = sum(taken[LATE]) / sum(taken[EARLY])
    name = f"memory at {LATE:,} / at {EARLY:,}, {PROCESSES} training processes"
    return {name: _row(grown, grown <= 1.05, "≤ 1.05") | {"bytes": {str(entry): each for entry, each in taken.items()}}}


def reading(folder: Path) -> dict[str, Any]:
    """Entries that a process reads until its first step, with those that tell the source's range and mean."""
    (_, anew), (step, resumed) = (map(int, line) for line in written(folder / "first"))
    name = "entries read until the first step, resumed / from the beginning"
    return {name: _row(resumed / anew, resumed <= 1.05 * anew, "≤ 1.05") | {"step": step, "read": [anew, resumed]}}


def repeating(whole: Path, killed: Path) -> dict[str, Any]:
    """A step is the same where its loss is so in each process, both times if it was taken twice."""
    expected, found = _losses(whole), _losses(killed)
    equal = sum(found[step] == expected[step] for step in range(STEPS - LAST, STEPS))
    ended = all((killed / name).read_bytes() == (whole / name).read_bytes() for name in (WEIGHTS, HISTORY))
    resumed = int(written(killed / "first")[-1][0])
    steps = [step for step, _ in written(killed / "losses-0")]
    more = {
        "resumed_at_step": resumed,
        "steps_taken_twice": len(steps) - len({*steps}),
        "same_weights_and_history": ended,
    }
    return {"steps with the same loss after a kill / all": _row(equal / LAST, ended and equal == LAST, "= 1") | more}


def _losses(folder: Path) -> dict[float, set[tuple[int, float]]]:
    """By step, of each process."""
    found: dict[float, set[tuple[int, float]]] = defaultdict(set)
    for number in range(PROCESSES):
        for step, loss in written(folder / f"losses-{number}"):
            found[step].add((number, loss))
    return found


def _row(ratio: float, holds: bool, goal: str) -> dict[str, Any]:
    return {"ratio": ratio, "low": ratio, "high": ratio, "goal": goal, "holds": holds}


if __name__ == "__main__":
    learn(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
