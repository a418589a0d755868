"""What int8 saves on an ARM core, counted without one: instructions per inference on Cortex-A53 and Cortex-A76.

The students of the recipes for images, with random weights, in float and int8; or the bundles that are named. Each is
run by the C runner with one thread under qemu-user, which counts. *Instructions, not latency*: a count says whether
kernels use what the core can do (the A76 has int8 dot products, the A53 has none), not how fast they run.

    python -m benchmarks.instructions [BUNDLE …]

Needs `tests/devices/install` (Debian 12, as root). Without bundles, `results/instructions.json` is written. Takes three
minutes; the counts are the same on every machine.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.bundle import load_bundle
from edgekd.files import sha256, write_json
from edgekd.pipeline.summary import versions
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.qat import export_float
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Model
from edgekd.students import build_model
from edgekd.target import load_target
from tests.devices.instructions import CORES, Counter, qemu_version
from tests.export.c_runner import build, call

RESULTS = Path(__file__).parent / "results" / "instructions.json"
SHAPE, CLASSES, ROUNDS = (1, 28, 28), 10, 3
STUDENTS = {
    "resnet-8": Model(model="resnet", options={"depth": 8}),  # quickstart's
    "mobilenet": Model(model="mobilenet"),
}
TARGET = load_target("raspberry-pi-4")

Row = dict[str, Any]


def students(folder: Path) -> Iterator[Path]:
    """Two bundles of each."""
    images = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)
    inputs = {"input": images}
    for name, student in STUDENTS.items():
        model = build_model(student, CLASSES, SHAPE, seed=0).eval()
        plain = export_float(model, torch.from_numpy(images[:2]))
        for precision, graph in (("float", plain), ("int8", calibrate(plain, find_scheme(TARGET.scheme), [inputs]))):
            path, outputs = folder / f"{name}-{precision}", Reference(graph).run(inputs)
            write_bundle(graph, TARGET, path, precision, name=name, inputs=inputs, outputs=outputs)
            yield path


def counted(counter: Counter, core: str, bundle: Path) -> Row:
    """One bundle on one core; `spread` is (largest - smallest) / median of the rounds."""
    manifest = load_bundle(bundle)
    rounds = [counter.per_inference(bundle) for _ in range(ROUNDS)]
    middle = median(rounds)
    row = {"name": manifest.name, "precision": manifest.precision, "core": core, "instructions": round(middle)}
    return row | {"spread": (max(rounds) - min(rounds)) / middle}


def compared(rows: list[Row]) -> list[Row]:
    """With `of_float`, the share of the float model's instructions, where that was counted too."""
    plain = {(row["name"], row["core"]): row["instructions"] for row in rows if row["precision"] == "float"}
    shares = ((row, plain.get((row["name"], row["core"]))) for row in rows)
    return [row | ({"of_float": row["instructions"] / whole} if whole else {}) for row, whole in shares]


def table(rows: list[Row]) -> Table:
    """For people."""
    shown = Table("model", "precision", "core", "instructions", "of float's", "spread", box=None)
    for row in rows:
        share = f"{row['of_float']:.3f}" if "of_float" in row else ""
        numbers = (f"{row['instructions']:,}", share, f"{row['spread']:.2%}")
        shown.add_row(row["name"], row["precision"], row["core"], *numbers)
    return shown


def main() -> None:
    """Count, print and, for the students, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path, help="TFLite bundles")
    given = parser.parse_args().bundles
    with TemporaryDirectory() as name:
        folder = Path(name)
        runner, bundles = build(folder, "aarch64"), given or list(students(folder))
        counters = {core: Counter(folder, runner, core) for core in CORES}
        rows = compared([counted(counter, core, bundle) for bundle in bundles for core, counter in counters.items()])
        start = call(runner, "build", bundles[0])[1][0]
        identity = {"qemu": qemu_version(), "runtime": f"{start['runtime']} {start['runtime_version']}"}
        identity |= {"runner": sha256(runner), "threads": 1, "unit": "instructions per inference, not a latency"}
    Console().print(table(rows))
    if not given:
        write_json(RESULTS, {**identity, "versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
