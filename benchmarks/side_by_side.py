"""Our int8 models beside NNCF's, ONNX Runtime's, torchao's, ai-edge-quantizer's and ModelOpt's.

The same float students, calibration samples, test data, runtime and runner for all. Three draws: of the calibration
samples, and of the student where three were trained. `accuracy` is the drop against the float student, with the size of
the model and how well the runtime's answers match the contender's own reference; `latency` interleaves the contenders
of a backend in fresh processes and needs a quiet machine; `floor` sets it against the int8 peak of this machine.
Each cell is written to `results/side-by-side.json` as soon as it is done; interrupted, the same command goes on.
"""

import argparse
import json
import os
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import onnx
import torch
from peers import bundles, floor, verdicts
from peers.contenders import OURS, REFERENCE, bundle, contenders, graph, identity, scheme_of, truth
from peers.environment import CACHE, PEERS
from peers.students import STUDENTS, Student
from rich.console import Console
from rich.table import Table

from edgekd.backends.reference import Reference
from edgekd.bundle import load_bundle
from edgekd.devices import open_device
from edgekd.distance import sqnr
from edgekd.errors import EdgekdError
from edgekd.files import write_json
from edgekd.measure import measure
from edgekd.measure.facts import machine_facts
from edgekd.metrics import accuracy
from edgekd.pipeline.origin import origin, versions
from edgekd.students import count

RESULTS = Path(__file__).parent / "results" / "side-by-side.json"
ACCURACY = accuracy.metric()
DRAWS, PARITY = 3, 512
REPLICATES, SECONDS = 7, 0.4


@cache
def float_answers(student: Student, draw: int) -> bundles.Array:
    """The float student's logits for the test split."""
    model = onnx.load(student.give(draw, CACHE / "students") / "model.onnx")
    return Reference(model).run({"input": student.tests()}, batch=256)["logits"]


def judged(student: Student, draw: int, backend: str, name: str) -> dict[str, Any]:
    """One contender on one draw: accuracy, drop, agreement and SQNR against the float student; size and parity."""
    labels, wanted = student.dataset().test.labels, float_answers(student, draw)
    given, found = deployed(student, draw, backend, name)
    drop = 100 * (ACCURACY(wanted, labels) - ACCURACY(given, labels))
    return {
        "accuracy": ACCURACY(given, labels), "drop": drop,
        "agreement": ACCURACY(given, wanted.argmax(1)), "sqnr": sqnr(given, wanted), **found,
    }  # fmt: skip


def deployed(student: Student, draw: int, backend: str, name: str) -> tuple[bundles.Array, dict[str, Any]]:
    """A contender's logits for the test split, by its runtime if it has one; size, int8 kernels, parity."""
    samples = student.tests()
    if backend == REFERENCE:
        model = graph(student, draw, scheme_of(backend), name)
        assert model is not None
        return next(iter(Reference(model).run({"input": samples}, batch=256).values())), {}
    folder = bundle(student, draw, backend, name)
    given = bundles.answers(folder, samples)
    found: dict[str, Any] = {
        "bytes": load_bundle(folder).model_bytes,
        "kernels": bundles.kernels(folder) if draw == 0 else None,
    }
    expected = truth(student, draw, backend, name, folder, samples[:PARITY])
    if expected is not None:
        given_there = given[:PARITY]
        found["parity"] = {"agreement": ACCURACY(expected, given_there.argmax(1)), "sqnr": sqnr(given_there, expected)}
    return given, found


class Bench:
    """The results so far."""

    def __init__(self, fresh: bool) -> None:
        self.fresh = fresh
        self.document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        with closing(open_device("local:")) as device:
            self.document["machine"] = machine_facts(device).model_dump(mode="json")
        self.document["peers"] = {name: {"packages": peer.requirements} for name, peer in PEERS.items()}
        self.document |= {"versions": versions(), "commit": origin().commit}
        self.students = self.document.setdefault("students", {})

    def row(self, student: Student) -> dict[str, Any]:
        """A student's part of the results."""
        if student.name not in self.students:
            parameters, macs = count(student.trained(0), tuple(student.example().shape[1:]))
            about = {"parameters": parameters, "macs": macs, "trained": student.seeds}
            self.students[student.name] = about | {"float": {}, "backends": {}}
        row: dict[str, Any] = self.students[student.name]
        row |= {"title": student.title, "data": student.data, "tests": len(student.dataset().test)}
        return row

    def keep(self) -> None:
        """Write everything."""
        for row in self.students.values():
            row["verdicts"] = verdicts.verdicts(row)
        write_json(RESULTS, self.document)

    def accuracy(self, student: Student, backends: list[str]) -> None:
        """Every missing cell of one student."""
        row = self.row(student)
        for draw in range(DRAWS):
            row["float"][str(draw)] = ACCURACY(float_answers(student, draw), student.dataset().test.labels)
            for backend in backends:
                for name in contenders(backend):
                    if name not in OURS or OURS[name] or draw < student.fine_tuned:
                        self._judge(row, student, draw, backend, name)

    def _judge(self, row: dict[str, Any], student: Student, draw: int, backend: str, name: str) -> None:
        cell = row["backends"].setdefault(backend, {}).setdefault(name, {"draws": {}})
        try:
            key = identity(student, draw, backend, name)
            if cell["draws"].get(str(draw), {}).get("key") == key and not self.fresh:
                return
            cell["draws"][str(draw)] = {"key": key} | judged(student, draw, backend, name)
            cell.pop("reason", None)
        except EdgekdError as error:
            cell["reason"] = str(error)
        drops = [found["drop"] for found in cell["draws"].values()]
        cell["drop"] = {"mean": mean(drops), "std": stdev(drops) if len(drops) > 1 else None} if drops else None
        self.keep()
        Console().print(f"{student.name} {draw} {backend} {name}: {cell['draws'].get(str(draw), cell.get('reason'))}")

    def latency(self, student: Student, backends: list[str]) -> None:
        """Our calibrated model and the peers of each backend in turns, on the first draw."""
        row = self.row(student)
        for backend in (name for name in backends if name in row["backends"] and name != REFERENCE):
            cells = {name: cell for name, cell in row["backends"][backend].items() if name in ("edgekd", *PEERS)}
            if all("latency" in cell for cell in cells.values()) and not self.fresh:
                continue
            load = os.getloadavg()[0]
            folders = {name: (bundle(student, 0, backend, name), {}) for name in contenders(backend) if name in cells}
            with closing(open_device("local:")) as device:
                found = measure(device, folders, REPLICATES, SECONDS, threads=1)
            for name, measured in found.items():
                cells[name]["latency"] = measured.latency.model_dump(mode="json") | {"load": load}
            self.keep()
            times = ", ".join(f"{name} {measured.latency.p50:.4f}" for name, measured in found.items())
            Console().print(f"{student.name} {backend} at load {load:.2f}: {times} ms")


def table(document: dict[str, Any]) -> Table:
    """A row per student, backend and contender."""
    columns = ("student", "backend", "contender", "drop, points", "agrees", "SQNR dB", "int8", "bytes", "p50 ms", "×")
    shown = Table(*columns, box=None)
    for student in document["students"].values():
        for backend, cells in student["backends"].items():
            for name, cell in cells.items():
                shown.add_row(student["title"], backend, name, *summary(cell, cells["edgekd"]))
    return shown


def summary(cell: dict[str, Any], ours: dict[str, Any]) -> tuple[str, ...]:
    """A cell's columns."""
    if not cell["draws"]:
        return (cell.get("reason", "–"),)
    draws, drop = list(cell["draws"].values()), cell["drop"]
    spread = "" if drop["std"] is None else f" ± {drop['std']:.2f}"
    time = cell.get("latency")
    return (
        f"{drop['mean']:+.2f}{spread}",
        f"{100 * mean(draw['agreement'] for draw in draws):.2f} %",
        f"{mean(draw['sqnr'] for draw in draws):.1f}",
        "/".join(map(str, draws[0].get("kernels", []))),
        str(draws[0].get("bytes", "")),
        f"{time['p50']:.4f} [{time['low']:.4f}, {time['high']:.4f}]" if time else "",
        f"{ours['latency']['p50'] / time['p50']:.2f}" if time else "",
    )


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("accuracy", "latency", "floor")
    parser.add_argument("--parts", nargs="+", choices=names, default=list(names))
    parser.add_argument("--only", nargs="+", choices=list(STUDENTS), default=list(STUDENTS), metavar="STUDENT")
    parser.add_argument("--backends", nargs="+", choices=bundles.BACKENDS, default=list(bundles.BACKENDS))
    parser.add_argument("--fresh", action="store_true", help="run cells that are done already, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.fresh)
    for part in (bench.accuracy, bench.latency):
        if part.__name__ in arguments.parts:
            for name in arguments.only:
                part(STUDENTS[name], arguments.backends)
    if "floor" in arguments.parts:
        bench.document["floor"] = floor.measured(bench.students)
        bench.keep()
    Console(width=200).print(table(bench.document), "", verdicts.table(bench.document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
