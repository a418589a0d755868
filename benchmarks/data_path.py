"""What edgekd's data path costs beside a plain DataLoader loop, and whether memory stays where it is; all in one run.

  a. images/s of `Batches.epoch` / those of a loop over torch's DataLoader with the same data set, batch, workers and
     normalisation, both to float32 tensors and without a step (goal: at least 0.90); and the same of the seconds that
     processors were at work, workers' included, which a busy machine blurs less
  b. resident memory, workers included, at entry 250,000 / at entry 1,000 of a source of 300,000 images that repeats
     1,000 of them (goal: at most 1.05)
  c. the same of 224×224 in a training of two processes, and what these read and repeat when they are killed deep in an
     epoch and resumed (`long_epoch.py`)
Candidates take turns within every round; a ratio is the median over rounds of the round's own ratio, with the interval
of `edgekd.measure.statistics`. One thread a process. a and b take about five minutes on an idle machine, c about ten,
and 3 GB below build/; each part is written as soon as it is done.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks import long_epoch
from benchmarks.distillation_speed import circumstances, ratio, take_turns, timed
from benchmarks.process_tree import resident, tree
from edgekd.data import as_dataset
from edgekd.files import write_json
from edgekd.recipe import Data
from edgekd.training.batches import Batches

RESULTS = Path(__file__).parent / "results" / "data-path.json"
OUT = Path(__file__).parents[1] / "build" / "data-path"
BATCH, SIDE, DISTINCT, CPU = 64, 64, 1000, torch.device("cpu")
WORKERS = 0, 1, 2
ENTRIES, EARLY, LATE = 300_000, 1_000, 250_000


class Repeating(TorchDataset[tuple[Tensor, int]]):
    """`count` uint8 images (3, 64, 64), of which `DISTINCT` differ; each is unpacked anew, as a file would be."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(0)
        self._packed = random.integers(0, 256, (DISTINCT, SIDE, SIDE, 3), dtype=np.uint8)
        self.targets = np.arange(count) % 10

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = self._packed[place % DISTINCT].transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(image)), int(self.targets[place])


def ours(count: int, workers: int) -> Batches:
    """What a training of that source reads."""
    held_out = Repeating(100)
    data = as_dataset((DataLoader(Repeating(count), BATCH, num_workers=workers), held_out, held_out))
    return Batches(data, Data(name="repeating"), BATCH, 0, CPU)


def plain(count: int, workers: int, batches: Batches) -> Iterator[Tensor]:
    """The same images, batches and arithmetic in a loop of one's own."""
    known = batches.data.preprocessing
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (known.mean, known.std))
    for images, _ in DataLoader(Repeating(count), BATCH, shuffle=True, drop_last=True, num_workers=workers):
        yield (images.float().mul_(known.scale).sub_(mean).div_(std)).contiguous(memory_format=torch.channels_last)


def speed(rounds: int, count: int) -> dict[str, Any]:
    """Ratio a, for each number of workers."""
    found = {}
    for workers in WORKERS:
        batches = ours(count, workers)
        loops = {
            "edgekd": Loop(lambda batches=batches: batches.epoch(0, 0)),
            "plain": Loop(lambda batches=batches, workers=workers: plain(count, workers, batches)),
        }
        seconds, name = take_turns(dict(loops), rounds), f"edgekd / plain loop, {workers} workers"
        found[name] = ratio(seconds["plain"], seconds["edgekd"], at_least=0.90)
        found[name]["images_per_second"] = {who: count / float(np.median(times)) for who, times in seconds.items()}
        worked = [loops[who].worked[1:] for who in ("plain", "edgekd")]  # the first round does not count
        found[f"{name}, processor seconds"] = ratio(*worked, at_least=0.90)
    return found


class Loop:
    """Reads batches to the end; `worked` are the seconds that processors took for it, each time."""

    def __init__(self, batches: Callable[[], Iterator[Any]]) -> None:
        self._batches, self.worked = batches, list[float]()

    def __call__(self) -> float:
        """Seconds that passed."""
        before = sum(os.times()[:4])
        passed = timed(lambda: _drain(self._batches()))
        self.worked.append(sum(os.times()[:4]) - before)
        return passed


def memory(workers: int) -> dict[str, Any]:
    """Ratio b."""
    seen, bytes_at = 0, dict[int, int]()
    for batch in ours(ENTRIES, workers).epoch(0, 0):
        seen += len(batch.labels)
        for entry in (EARLY, LATE):
            if entry <= seen < entry + BATCH:
                bytes_at[entry] = sum(map(resident, tree(os.getpid())))
        if LATE in bytes_at:
            break
    grown = bytes_at[LATE] / bytes_at[EARLY]
    return {
        f"memory at {LATE:,} / at {EARLY:,}, {workers} workers": {
            "ratio": grown, "low": grown, "high": grown, "goal": "≤ 1.05", "holds": grown <= 1.05,
            "bytes": {str(entry): size for entry, size in bytes_at.items()},
        }
    }  # fmt: skip


def _drain(batches: Iterator[Any]) -> None:
    for _ in batches:
        pass


PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "speed": speed,
    "memory": lambda *_: memory(0) | memory(2),
    "long-epoch": lambda *_: long_epoch.measure(OUT),
}


def main() -> int:
    """Run, print, write; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=6400, help="images of a round")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for part in arguments.parts:
        found[part] = circumstances() | PARTS[part](arguments.rounds, arguments.count)
        write_json(RESULTS, found)
    rows = {
        name: row for part in found.values() for name, row in part.items() if isinstance(row, dict) and "goal" in row
    }
    table = Table("ratio", "found", "interval", "goal", box=None)
    for name, row in rows.items():
        table.add_row(name, f"{row['ratio']:.3f}", f"{row['low']:.3f} … {row['high']:.3f}", row["goal"])
    Console().print(table)
    return 0 if all(row["holds"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
