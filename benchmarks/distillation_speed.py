"""What a training costs beside what it cannot do without, and beside torchdistill doing the same; all in one run.

ResNet-20 teaches ResNet-8 on the built-in Fashion-MNIST subset, batch 128, one thread, float32:
  a. a step of `kd` from stored answers / a step of plain cross-entropy (goal: at most 1.05)
  b. a step of `kd` with the teacher live / (the teacher's forward pass + that step) (goal: at most 1.05)
  c. images/s of building the cache / of the teacher's forward pass on inputs that are ready (goal: at least 0.95)
  d. images/s of whole trainings, 4,000 images and 2 epochs / torchdistill's, with both accuracies
Candidates take turns within every round; a ratio is the median over rounds of the round's own ratio, with the interval
of `edgekd.measure.statistics`. For d an environment of its own is made once, in `--out`. Takes about ten minutes on
an idle machine; each part is written as soon as it is done.
"""

import argparse
import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from edgekd.data import load
from edgekd.devices import open_device
from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.measure.statistics import interval
from edgekd.pipeline.summary import versions
from edgekd.progress import SILENT
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training import CachedTeacher, Distill, LabelLoss, Teacher, teacher_taps
from edgekd.training.batches import Batches
from edgekd.training.objectives import Objective
from edgekd.training.optimizer import build_optimizer
from edgekd.training.precision import place_model, runner
from edgekd.training.teacher_cache_files import CHUNK

RESULTS = Path(__file__).parent / "results" / "distillation-speed.json"
PEER = ("torchdistill==1.1.5", "torchvision==0.28.0", "scipy", "pyyaml")
DATA = Data(name="fashion-mnist-subset", augmentation=("crop", "flip"), views=2)
BATCH, SAMPLES, CPU = 128, 2048, torch.device("cpu")
SETTINGS = Training(batch=BATCH, precision="float32")

Timed = Callable[[], float]


def network(depth: int) -> nn.Module:
    """A ResNet for the data, where convolutions are fastest."""
    model = build_model(Model(model="resnet", options={"depth": depth}), 10, (1, 28, 28))
    place_model(model, CPU, 4)
    return model


class Steps:
    """Training steps of one objective on a student, without one on a ResNet-8; batches are made within the step."""

    def __init__(
        self,
        batches: Batches,
        objective_of: Callable[[nn.Module], Objective],
        steps: int,
        student: nn.Module | None = None,
    ) -> None:
        self._batches, self._count, self._taken = batches, steps, 0
        self._student = student or network(8)
        self._objective = objective_of(self._student)
        self._objective.build(batches)
        self._objective.prepare(batches, [0])
        self._run = runner(self._student, SETTINGS.precision, CPU)
        self._optimizer = build_optimizer(self._student, self._objective.modules, SETTINGS)

    def __call__(self) -> float:
        """Seconds of the next steps, the same samples for every objective."""
        self._student.train()
        start = time.perf_counter()
        for _ in range(self._count):
            first = self._taken * BATCH % (len(self._batches.data.train) - BATCH)
            batch = self._batches.at(np.arange(first, first + BATCH), 0)
            self._optimizer.zero_grad()
            loss, terms = self._objective(self._run, batch, self._taken, 10_000)
            loss.backward()
            self._optimizer.step()
            _ = [term.item() for term in (loss, *terms.values())]  # as the training loop records them
            self._taken += 1
        return time.perf_counter() - start


def steps(folder: Path, rounds: int, count: int) -> dict[str, Any]:
    """Ratios a and b."""
    batches = Batches(load(DATA, 0), DATA, BATCH, 0, CPU)
    live = Teacher(network(20), (), SETTINGS.precision)
    stored = CachedTeacher(live, folder, SILENT)
    batch = batches.at(np.arange(BATCH), 0)

    def forward() -> float:
        return timed(lambda: [live.outputs(batch) for _ in range(count)])

    seconds = take_turns(
        {
            "cross-entropy": Steps(batches, lambda _: LabelLoss(), count),
            "kd stored": Steps(batches, lambda student: Distill(student, stored, [KD()]), count),
            "kd live": Steps(batches, lambda student: Distill(student, live, [KD()]), count),
            "teacher forward": forward,
        },
        rounds,
    )
    plain, teacher = seconds["cross-entropy"], seconds["teacher forward"]
    needed = [one + other for one, other in zip(plain, teacher, strict=True)]
    return {
        "step_ms": {name: 1000 * median(values) / count for name, values in seconds.items()},
        "kd stored / cross-entropy": ratio(seconds["kd stored"], plain, at_most=1.05),
        "kd live / (teacher forward + cross-entropy)": ratio(seconds["kd live"], needed, at_most=1.05),
    }


def building(folder: Path, rounds: int) -> dict[str, Any]:
    """Ratio c, for logits alone and with a feature."""
    data = load(DATA.model_copy(update={"limit": SAMPLES}), 0)
    batches, model, samples = Batches(data, DATA, BATCH, 0, CPU), network(20).eval(), len(data.train)
    ready = [batches.at(np.arange(first, min(first + CHUNK, samples)), 0).inputs for first in range(0, samples, CHUNK)]

    @torch.inference_mode()
    def forward() -> None:
        for inputs in ready:
            model(inputs)

    def build(*methods: Any) -> None:
        with TemporaryDirectory(dir=folder) as empty:
            source = CachedTeacher(Teacher(model, teacher_taps(methods), SETTINGS.precision), Path(empty), SILENT)
            source.prepare(batches, [0])

    hint = Hint({"stages.2": "stages.2"})
    seconds = take_turns(
        {
            "teacher forward": lambda: timed(forward),
            "logits": lambda: timed(lambda: build(KD())),
            "logits and stages.2": lambda: timed(lambda: build(KD(), hint)),
        },
        rounds,
    )
    plain = seconds.pop("teacher forward")
    return {
        "images_per_second": {name: samples / median(values) for name, values in seconds.items()}
        | {"teacher forward": samples / median(plain)},
        **{f"build {name} / teacher forward": ratio(plain, spent, at_least=0.95) for name, spent in seconds.items()},
    }


def peer(folder: Path, rounds: int) -> dict[str, Any]:
    """Ratio d, measured by `torchdistill_training.py` in an environment that adds torchdistill to this one."""
    python = _peer_environment(folder / "torchdistill")
    script = Path(__file__).with_name("torchdistill_training.py")
    command = [python, script, "--out", folder, "--rounds", str(rounds)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    speeds = found["seconds"]
    theirs = speeds["torchdistill"]
    return found | {
        f"{name} / torchdistill": ratio(theirs, spent) for name, spent in speeds.items() if name != "torchdistill"
    }


def _peer_environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        venv.create(folder, clear=True, symlinks=True)
        ours, (theirs,) = Path(np.__file__).parents[1], folder.glob("lib/python*/site-packages")
        (theirs / "edgekd.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", *PEER], check=True
        )
        (folder / "complete").touch()
    return python


def take_turns(candidates: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, after one round that does not count; every other round backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name in list(candidates)[:: -1 if number % 2 else 1]:
            spent = candidates[name]()
            if number:
                seconds[name].append(spent)
    return seconds


def ratio(
    above: Sequence[float], below: Sequence[float], *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """The median of the rounds' ratios with its interval, and whether it reaches its goal."""
    values = [one / other for one, other in zip(above, below, strict=True)]
    low, high = interval(values)
    found = {"ratio": median(values), "low": low, "high": high, "rounds": len(values)}
    if at_most is not None:
        return found | {"goal": f"≤ {at_most}", "holds": found["ratio"] <= at_most}
    return found if at_least is None else found | {"goal": f"≥ {at_least}", "holds": found["ratio"] >= at_least}


def timed(work: Callable[[], Any]) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratios(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    values = {name: value for part in PARTS for name, value in found.get(part, {}).items()}
    return {name: value for name, value in values.items() if isinstance(value, dict) and "ratio" in value}


def circumstances() -> dict[str, Any]:
    """Where and with what it was measured."""
    with closing(open_device("local:")) as device:
        machine = machine_facts(device).model_dump(mode="json")
    return {"machine": machine, "versions": versions(), "threads": 1}


PARTS: dict[str, Callable[[Path, Path, int], dict[str, Any]]] = {
    "steps": lambda _, empty, rounds: steps(empty, rounds, 5),
    "cache": lambda _, empty, rounds: building(empty, max(1, rounds // 3)),
    "trainings": lambda out, _, rounds: peer(out, max(1, rounds // 3)),
}


def main() -> int:
    """Run, print, write; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/distillation-speed"), help="working folder")
    parser.add_argument("--rounds", type=int, default=15, help="of steps; caches and trainings take a third of it")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="what to measure anew")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for part in arguments.parts:
        with TemporaryDirectory(dir=arguments.out) as folder:
            measured = PARTS[part](arguments.out.resolve(), Path(folder), arguments.rounds)
        found[part] = circumstances() | measured
        write_json(RESULTS, found)
    ratios = _ratios(found)
    table = Table("ratio", "found", "interval", "goal", box=None)
    for name, value in ratios.items():
        table.add_row(name, f"{value['ratio']:.3f}", f"{value['low']:.3f} … {value['high']:.3f}", value.get("goal", ""))
    Console().print(table)
    return 0 if all(value.get("holds", True) for value in ratios.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
