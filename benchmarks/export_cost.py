"""What an export costs: CPU seconds and memory of the whole process tree, by number of samples, beside two peers.

Ours is `edgekd export` as a user types it, proof included, and what it does before the proof alone (`calibrated`). The
peers quantise the same file with the same samples, as `make foreign` has them. Memory is the sum of what each process
has to itself and its share of the rest (PSS), read every 50 ms. Each cell is written to `results/export-cost.json` as
soon as it is done; interrupted, the same command goes on.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from benchmarks.foreign import samples as pictures
from benchmarks.foreign.contenders import PEERS
from benchmarks.foreign.networks import Network, networks
from benchmarks.process_tree import resident, tree
from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.origin import origin, versions
from edgekd.runner.bundle import write_arrays

RESULTS = Path(__file__).parent / "results" / "export-cost.json"
RUNTIMES = {"onnxruntime": "ORT static", "openvino": "NNCF"}
CASES = {
    "page-direction": (224, (64, 128, 256)),
    "open-nsfw": (224, (64, 128, 256)),
    "nudenet": (640, (16, 32, 64, 128)),
}
EVERY = 0.05  # s
CALIBRATED = """
import sys
from pathlib import Path
import onnx
from edgekd.onnx_import.samples import NpzSamples
from edgekd.pipeline.calibrated import batches_of
from edgekd.pipeline.imported import Wishes, import_file
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.scheme import find_scheme
model, npz, out = map(Path, sys.argv[1:])
scheme = "int8-asymmetric"
imported = import_file(model, scheme, NpzSamples(npz), Wishes())
onnx.save(Calibrator(imported.model, batches_of(imported.inputs)).quantized(find_scheme(scheme)), out / "model.onnx")
"""


def cost(command: list[str]) -> dict[str, Any]:
    """Run it: exit code, CPU seconds with its children, wall seconds and the highest sum of PSS, MB."""
    started, peak, done = time.monotonic(), [0], threading.Event()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def watch() -> None:
        while not done.wait(EVERY):
            peak[0] = max(peak[0], sum(map(resident, tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    process.returncode = code = os.waitstatus_to_exitcode(status)
    found = {"exit": code, "cpu_s": round(usage.ru_utime + usage.ru_stime, 1), "peak_mb": round(peak[0] / (1 << 20))}
    found["wall_s"] = round(time.monotonic() - started, 1)
    return found if code in {0, 4} else found | {"reason": said.strip()[-300:]}


def given(network: Network, side: int, count: int, folder: Path) -> Path:
    """The network's file and so many samples of `side` pixels, as the peers read them."""
    shutil.copy(network.model(), folder / "model.onnx")
    made = pictures.make(network.samples, "cost", count)
    write_arrays(folder / "calibration.npz", {name: _sized(array, side) for name, array in made.items()})
    write_arrays(folder / "test.npz", {name: _sized(array[:1], side) for name, array in made.items()})
    write_json(folder / "feeds.json", {"batch_axes": network.batch_axes, "settings": network.settings})
    return folder


def _sized(array: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Images (N, C, H, W) with each pixel repeated."""
    times = max(1, side // array.shape[-2])
    return array if times == 1 else np.ascontiguousarray(array.repeat(times, -1).repeat(times, -2))


def ways(place: Path, out: Path, runtimes: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each way to quantise what lies in a folder, by name."""
    model, npz = str(place / "model.onnx"), str(place / "calibration.npz")
    yield "calibrated", [sys.executable, "-c", CALIBRATED, model, npz, str(out)]
    for runtime in runtimes:
        command = [sys.executable, "-m", "edgekd", "export", model, "--target", f"x86-{runtime}"]
        yield runtime, [*command, "--calibration", npz, "--out", str(out), "--json", "--no-bench"]
        peer = PEERS[RUNTIMES[runtime]]
        yield RUNTIMES[runtime], [str(peer._python()), str(peer.source), str(place), str(out)]


def run(document: dict[str, Any], name: str, count: int, runtimes: list[str]) -> None:
    """Every missing cell of one network and number of samples."""
    side, _ = CASES[name]
    cells = document["networks"].setdefault(name, {}).setdefault(str(count), {})
    with TemporaryDirectory(prefix="edgekd-") as scratch:
        place = Path(scratch) / "given"
        place.mkdir()
        for way, command in ways(place, Path(scratch) / "out", runtimes):
            if way in cells:
                continue
            if not (place / "feeds.json").exists():
                given(networks()[name], side, count, place)
                with np.load(place / "calibration.npz") as file:
                    cells["samples_mb"] = round(sum(file[key].nbytes for key in file) / 2**20)
            shutil.rmtree(Path(scratch) / "out", ignore_errors=True)
            (Path(scratch) / "out").mkdir()
            cells[way] = cost(command) | {"commit": origin().commit}
            write_json(RESULTS, document)
            Console(width=200).print(name, count, way, cells[way])


def table(document: dict[str, Any]) -> Table:
    """CPU seconds and peak of each cell, the peak without the samples themselves."""
    shown = Table("network", "samples", "samples MB", *("calibrated", *RUNTIMES, *RUNTIMES.values()))
    for name, counts in document["networks"].items():
        for count, cells in counts.items():
            texts = [
                f"{cell['cpu_s']} s {cell['peak_mb']} MB" if (cell := cells.get(way)) else "–"
                for way in ("calibrated", *RUNTIMES, *RUNTIMES.values())
            ]
            shown.add_row(name, count, str(cells["samples_mb"]), *texts)
    return shown


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--counts", nargs="+", type=int, help="numbers of samples, instead of each network's own")
    parser.add_argument("--runtimes", nargs="*", choices=list(RUNTIMES), default=list(RUNTIMES))
    arguments = parser.parse_args()
    document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"networks": {}}
    with closing(open_device("local:")) as device:
        document["machine"] = machine_facts(device).model_dump(mode="json")
    document["versions"] = versions() | {"onnx": onnx.__version__}
    for name in arguments.only:
        for count in arguments.counts or CASES[name][1]:
            run(document, name, count, arguments.runtimes)
    Console(width=200).print(table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
