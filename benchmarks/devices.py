"""One student on four kinds of device, and what each makes of the test set: this machine, two Raspberry Pis, a phone.

This machine is timed. The others are emulated (`tests/devices`): their sshd, adbd, Python, runtimes and kernels are
those of their processors, so their answers are what such a device gives; their times are qemu's, and say so.

    python -m benchmarks.devices [RUN]

RUN is a finished run of fashion-mnist or quickstart (runs/fashion-mnist); the samples are the first 2,000 of the test
set. Needs `tests/devices/install` (Debian 12, as root). Writes `results/devices.jsonl`, in a quarter of an hour.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edgekd.data import load
from edgekd.files import write_bytes
from edgekd.measure.results import Row, read_rows
from edgekd.pipeline.bench import bench_bundles
from edgekd.progress import Reporter
from edgekd.recipe import Data
from tests.devices.android import Phone
from tests.devices.emulated import OldPi, Pi
from tests.export.c_runner import build

RESULTS = Path(__file__).parent / "results" / "devices.jsonl"
LITERT, ORT = "x86-tflite", "x86-onnxruntime"  # an ARM device's targets have the same scheme, so the same files
SAMPLES = 2000  # more would take emulated devices longer than a device is waited for
FEW: dict[str, Any] = {"replicates": 3, "seconds": 0.2, "count": 20}  # what is not timed is only asked how it fares


@dataclass(frozen=True)
class Place:
    """A device; with an `arch`, the C runner for it is built and used."""

    uri: str
    bundles: tuple[str, ...] = (LITERT,)
    board: type[Pi | OldPi | Phone] | None = None
    arch: str | None = None


PLACES = (
    Place("local:", (LITERT, ORT)),
    Place("local:", arch="x86_64"),
    Place(Pi.uri, (LITERT, ORT), Pi),
    Place(OldPi.uri, board=OldPi),
    Place(Phone.uri, board=Phone, arch="aarch64"),
)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/fashion-mnist"))
    parser.add_argument("--limit", type=int, default=SAMPLES, help="images; no result is written of other than 2,000")
    arguments = parser.parse_args()
    table = Table("device", "runtime", "", "accuracy", "points", "values apart", "classes changed", box=None)
    rows = []
    with TemporaryDirectory() as scratch:
        samples = _write_samples(Path(scratch) / "test.npz", arguments.limit)
        for place in PLACES:
            for row in _measured(place, arguments.run / "bundles", samples):
                table.add_row(place.uri, *_cells(row))
                rows.append(row.model_copy(update={"samples": ()}))
    Console().print(table)
    if arguments.limit == SAMPLES:
        write_bytes(RESULTS, "".join(f"{row.model_dump_json()}\n" for row in rows).encode())


def _write_samples(path: Path, limit: int) -> Path:
    test = load(Data(name="fashion-mnist"), seed=0).test
    np.savez(path, x=test.inputs[:limit], y=test.labels[:limit])
    return path


def _measured(place: Place, bundles: Path, samples: Path) -> list[Row]:
    """Rows of one device, int8 and float in turns."""
    with TemporaryDirectory() as scratch, _opened(place.board):
        out, folder = Path(scratch) / "results.jsonl", Path(scratch) / "runner"
        uri = f"{place.uri}?runner={build(folder, place.arch).parent}" if place.arch else place.uri
        for name in place.bundles:
            bench_bundles(
                [bundles / name, bundles / f"{name}-float"], uri,
                threads=1, data=samples, out=out, reporter=Reporter(), **(FEW if place.board else {}),
            )  # fmt: skip
        return read_rows(out)


@contextmanager
def _opened(board: type[Pi | OldPi | Phone] | None) -> Iterator[None]:
    with TemporaryDirectory() as folder, board(Path(folder)) if board else nullcontext():
        yield


def _cells(row: Row) -> tuple[str, ...]:
    told = f"{row.runtime} {row.runtime_version}", row.label, f"{row.metric:.2%}"
    if row.difference is None or not row.difference.outputs:
        return (*told, "", "", "")
    (logits,) = row.difference.outputs
    return (*told, f"{row.difference.points:+.2f}", f"{logits.differing:.2%}", str(logits.argmax_changes))


if __name__ == "__main__":
    main()
