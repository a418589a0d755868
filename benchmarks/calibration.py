"""Which way to calibrate loses least: SQNR of the outputs, int8 against float, on samples that calibration never saw.

Networks of the table × schemes × ranges × equalised or not × biases corrected or not. Random weights have no outliers:
the trained ones (`efficientnet-lite0`, `minilm`) weigh more. Each cell is written to `results/calibration.json` as soon
as it is done; interrupted, the same command goes on.
"""

import argparse
import json
import math
import sys
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from architectures import NETWORKS, Network
from rich.console import Console
from rich.table import Table

from edgekd.backends.reference import Reference
from edgekd.distance import sqnr
from edgekd.files import write_json
from edgekd.quantization import qat
from edgekd.quantization.calibrate import Calibration, calibrate
from edgekd.quantization.ranges import METHODS
from edgekd.quantization.scheme import SCHEMES

RESULTS = Path(__file__).parent / "results" / "calibration.json"
DEFAULT = ("efficientnet-lite0", "minilm", "ds-cnn", "u-net", "transformer", "vit-tiny", "mobilenet-v3-small", "cnn1d")
TARGETED = ("int8-asymmetric", "int8-symmetric")
SAMPLES, CALIBRATION, BATCH = 64, 128, 32
WAYS = [Calibration(ranges, *flags) for flags in product((False, True), repeat=2) for ranges in METHODS]


def label(how: Calibration) -> str:
    """A way in a few words."""
    words = [how.ranges, *(["equalised"] if how.equalize else []), *(["corrected"] if how.correct_bias else [])]
    return " ".join(words)


def rows(network: Network, ways: list[str], done: dict[str, Any]) -> Any:
    """Decibels by scheme and way, those that are missing."""
    asked = [how for how in WAYS if label(how) in ways]
    missing = [(scheme, how) for scheme in TARGETED for how in asked if f"{scheme} {label(how)}" not in done]
    if not missing:
        return
    model = network.ready()
    samples, seen = network.inputs(SAMPLES, 1), network.inputs(CALIBRATION, 2)
    graph = qat.export_float(model, torch.from_numpy(samples[:2]), fixed_length=network.length is not None)
    exact = Reference(graph).run({"input": samples}, batch=BATCH)
    batches = [{"input": seen[start : start + BATCH]} for start in range(0, len(seen), BATCH)]
    for scheme, how in missing:
        rounded = Reference(calibrate(graph, SCHEMES[scheme], batches, how=how)).run({"input": samples}, batch=BATCH)
        yield f"{scheme} {label(how)}", round(min(sqnr(rounded[name], exact[name]) or math.inf for name in exact), 2)


def table(document: dict[str, Any]) -> Table:
    """A row per scheme and way: decibels per network, and the median of what is lost to each network's best."""
    networks = document["networks"]
    shown = Table("scheme", "way", *networks, "median lost", "worst lost", box=None)
    for scheme in TARGETED:
        cells = {
            name: {k.partition(" ")[2]: v for k, v in row.items() if k.startswith(scheme)}
            for name, row in networks.items()
        }
        for how in map(label, WAYS):
            found = [row.get(how) for row in cells.values()]
            lost = [max(row.values()) - row[how] for row in cells.values() if how in row]
            if lost:
                figures = (f"{median(lost):.1f}", f"{max(lost):.1f}")
                shown.add_row(scheme, how, *("–" if v is None else f"{v:.1f}" for v in found), *figures)
    return shown


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(DEFAULT), metavar="NET")
    labels = [label(how) for how in WAYS]
    parser.add_argument("--ways", nargs="+", choices=labels, default=labels, metavar="WAY")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    document = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"samples": SAMPLES, "networks": {}}
    for name in arguments.only:
        done = document["networks"].setdefault(name, {})
        for key, decibels in rows(NETWORKS[name], arguments.ways, done):
            done[key] = decibels
            write_json(RESULTS, document)
    Console(width=200).print(table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
