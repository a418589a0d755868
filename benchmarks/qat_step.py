"""What a training step costs in a scheme's simulated arithmetic beside the same step in float; all in one run.

ResNet-8 on the built-in Fashion-MNIST subset, batch 128, one thread, float32, cross-entropy: a step of
`int8-asymmetric` while activation ranges follow the data, as in the first half of a fine-tune, and while they are held,
as in the second (goal: at most 1.39). Processor seconds, which another program on the machine blurs less than time.
Candidates take turns within every round; a ratio is the median over rounds of the round's own ratio, with the interval
of `edgekd.measure.statistics`. Takes about a minute on an idle machine.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.distillation_speed import BATCH, CPU, DATA, Steps, Timed, circumstances, network, ratio, take_turns
from edgekd.data import load
from edgekd.files import write_json
from edgekd.quantization import qat
from edgekd.quantization.scheme import find_scheme
from edgekd.training import LabelLoss
from edgekd.training.batches import Batches

RESULTS = Path(__file__).parent / "results" / "qat-step.json"
SCHEME, GOAL = "int8-asymmetric", 1.39
FOLLOWING, HELD = "ranges follow", "ranges held"


def simulated(batches: Batches, observing: bool) -> qat.Simulated:
    """The student in the scheme's arithmetic, with ranges that follow the data or not."""
    inputs = batches.at(np.arange(BATCH), 0).inputs
    prepared = qat.prepare(network(8), find_scheme(SCHEME), inputs)
    qat.calibrate(prepared, [inputs])
    qat.enable_observers(prepared, observing)
    return prepared


def processor(steps: Timed) -> Timed:
    """Seconds that a processor works on steps."""

    def spent() -> float:
        start = time.process_time()
        steps()
        return time.process_time() - start

    return spent


def measure(rounds: int, count: int) -> dict[str, Any]:
    """Milliseconds of each step, and the two ratios."""
    batches = Batches(load(DATA, 0), DATA, BATCH, 0, CPU)
    students = {"float": None, FOLLOWING: simulated(batches, True), HELD: simulated(batches, False)}
    candidates = {
        name: processor(Steps(batches, lambda _: LabelLoss(), count, student)) for name, student in students.items()
    }
    seconds = take_turns(candidates, rounds)
    ratios = {f"{name} / float": ratio(seconds[name], seconds["float"], at_most=GOAL) for name in (FOLLOWING, HELD)}
    return {"step_ms": {name: 1000 * median(values) / count for name, values in seconds.items()}, **ratios}


def main() -> int:
    """Run, print, write; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20, help="steps of a candidate in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    found = circumstances() | {"scheme": SCHEME, "load": load_before} | measure(arguments.rounds, arguments.count)
    write_json(RESULTS, found)
    table, rows = (
        Table("ratio", "found", "interval", "goal", box=None),
        [f"{name} / float" for name in (FOLLOWING, HELD)],
    )
    for name in rows:
        row = found[name]
        table.add_row(name, f"{row['ratio']:.3f}", f"{row['low']:.3f} … {row['high']:.3f}", row["goal"])
    Console().print(table)
    return 0 if all(found[name]["holds"] for name in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
