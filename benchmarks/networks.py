"""Networks that people deploy × backends × precisions: what goes through, how exactly, in how many int8 kernels.

Each network is quantised twice for each scheme, calibration only and fine-tuned for a few steps, and sent to every
backend; where int8 throughout would be noise, mixed precision leaves the layers that it hurts most in float. What can
run here is held against the reference. Each cell is written to `results/networks.json` as soon as it is done; one whose
graph, target and backend have not changed is not run again; interrupted, the same command goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from architectures import NETWORKS, Network
from rich.console import Console
from rich.table import Table
from torch import nn

from edgekd.backends import find_backend
from edgekd.backends.assemble import write_bundle
from edgekd.backends.parity import LEAST_REFERENCE_SQNR_DB
from edgekd.backends.reference import Reference, reference_graph
from edgekd.devices import open_device
from edgekd.distance import sqnr
from edgekd.errors import BadInputError, DeviceError, EdgekdError, MissingExtraError
from edgekd.files import digest, sha256, write_json
from edgekd.measure.facts import machine_facts
from edgekd.metrics import accuracy
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.parity_evidence import Expected, gather_evidence
from edgekd.quantization import qat
from edgekd.quantization.float_fallback import float_layers
from edgekd.quantization.mixed_precision import Mixed, mix
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import find_scheme
from edgekd.target import Target, load_target

RESULTS = Path(__file__).parent / "results" / "networks.json"
BACKENDS = Path(sys.modules["edgekd"].__path__[0]) / "backends"
TARGETS = {
    name: load_target(target)
    for name, target in {
        "tflite": "x86-tflite",
        "openvino": "x86-openvino",
        "onnxruntime": "x86-onnxruntime",
        "tensorrt": "jetson-orin-nano",
        "tflm": "tflm-cortex-m",
    }.items()
}
DEFAULT = [name for name in TARGETS if name != "tflm"]  # most networks are not meant for a microcontroller
WAYS = ("float", "calibrated", "fine-tuned")
NEAR_DB, JUDGES = LEAST_REFERENCE_SQNR_DB + 1, 2  # dB that a calibrated network needs on so many calibration batches
SAMPLES, CALIBRATION, BATCH, STEPS, RATE = 64, 128, 16, 8, 1e-5


@dataclass
class Graphs:
    """One network's ONNX graphs, made when they are asked for."""

    network: Network
    _made: dict[tuple[str, str], onnx.ModelProto] = field(default_factory=dict)
    _mixed: dict[str, Mixed] = field(default_factory=dict)

    @cached_property
    def model(self) -> nn.Module:
        """The network itself."""
        return self.network.ready()

    @cached_property
    def samples(self) -> torch.Tensor:
        """What it is proven on; calibration and training see others."""
        return torch.from_numpy(self.network.inputs(SAMPLES, 1))

    @cached_property
    def calibration(self) -> torch.Tensor:
        """What its ranges are measured on, and its fine-tuning done."""
        return torch.from_numpy(self.network.inputs(CALIBRATION, 2))

    @property
    def batches(self) -> Iterator[torch.Tensor]:
        """The calibration samples."""
        return iter(self.calibration.split(BATCH))

    def graph(self, way: str, scheme: str) -> onnx.ModelProto:
        """A float or QDQ graph."""
        key = (way, "" if way == "float" else scheme)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, way: str, scheme: str) -> onnx.ModelProto:
        fixed = self.network.length is not None
        if way == "float":
            return qat.export_float(self.model, self.samples[:2], fixed_length=fixed)
        if way == "calibrated":
            return self.mixed(scheme).model
        prepared = qat.prepare(self.model, find_scheme(scheme), self.samples[:2], map(escape, self.mixed(scheme).kept))
        qat.calibrate(prepared, self.batches)
        fine_tune(prepared, self.model, self.batches)
        return qat.export_qdq(prepared, self.samples[:2], find_scheme(scheme), fixed_length=fixed)

    def mixed(self, scheme: str) -> Mixed:
        """Calibrated, with as few layers in float as keep it near the float network."""
        if scheme not in self._mixed:
            batches = [{"input": batch.numpy()} for batch in self.batches]
            plain = self.graph("float", "")
            wanted = [Reference(plain).run(batch) for batch in batches[:JUDGES]]

            def alike(model: onnx.ModelProto) -> bool:
                found = [Reference(model).run(batch) for batch in batches[:JUDGES]]
                return all(
                    (sqnr(ours[name], theirs[name]) or NEAR_DB) >= NEAR_DB
                    for ours, theirs in zip(found, wanted, strict=True)
                    for name in ours
                )

            self._mixed[scheme] = mix(plain, find_scheme(scheme), batches, alike)
        return self._mixed[scheme]


def fine_tune(prepared: nn.Module, model: nn.Module, batches: Iterator[torch.Tensor]) -> None:
    """Some steps of Adam towards what the float network answers."""
    optimizer = torch.optim.Adam(prepared.parameters(), RATE)
    prepared.eval()  # batch norms keep their statistics: a few steps could only blur them
    qat.enable_observers(prepared, False)
    for _, batch in zip(range(STEPS), batches, strict=False):
        with torch.no_grad():
            wanted = outputs(model(batch))
        loss = torch.stack(
            [nn.functional.mse_loss(*pair) for pair in zip(outputs(prepared(batch)), wanted, strict=True)]
        )
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()


def outputs(answer: Any) -> tuple[torch.Tensor, ...]:
    """What a network answers, as a tuple."""
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)


def cell(graphs: Graphs, way: str, target: Target) -> dict[str, Any]:
    """One network on one target in one way."""
    try:
        graph = graphs.graph(way, target.scheme)
        found = deployed(graphs, way, target, graph)
    except MissingExtraError as error:
        return {"status": "skipped", "reason": str(error)}
    except (BadInputError, DeviceError) as error:
        return {"status": "refused", "reason": str(error)}
    islands = [] if way == "float" else [str(layer) for layer in float_layers(graph)]
    status = found.pop("status", None) or ("float islands" if islands or _in_float(way, found) else "ok")
    return {"status": status, **found, "islands": islands}


def _in_float(way: str, found: dict[str, Any]) -> bool:
    """Whether the runtime itself left kernels of an int8 model in float."""
    int8, total = found.get("kernels", (None, None))
    return way != "float" and int8 != total


def deployed(graphs: Graphs, way: str, target: Target, graph: onnx.ModelProto) -> dict[str, Any]:
    """The bundle's size and notes, its kernels, its parity where it can run here."""
    inputs = {"input": graphs.samples.numpy()}
    truth = Reference(reference_graph(graph, target.backend)).run(inputs, batch=BATCH)
    unquantized = None if way == "float" else Reference(yardstick(graphs, way, graph)).run(inputs, batch=BATCH)
    with TemporaryDirectory(prefix="edgekd-") as scratch:
        bundle = Path(scratch) / "bundle"
        precision = "float" if way == "float" else "int8"
        manifest = write_bundle(
            graph, target, bundle, precision, name="network", inputs=inputs, outputs=truth, unquantized=unquantized
        )
        found: dict[str, Any] = {"bytes": manifest.model_bytes, "notes": list(manifest.notes)}
        found |= manifest.model_dump(include={"footprint"}, exclude_defaults=True)
        if unquantized is not None:
            found["sqnr_to_float"] = {name: sqnr(truth[name], unquantized[name]) for name in truth}
            found["same_class_as_float"] = {
                name: accuracy.metric()(truth[name], unquantized[name].argmax(1))
                for name in truth
                if truth[name].ndim == 2
            }
        check = getattr(find_backend(target.backend), "check", None)
        if check is not None:
            kernels = check(graph)
            return found | {"kernels": [kernels["int8"], kernels["total"]], "reason": kernels["label"]}
        with closing(open_device("local:")) as device:
            evidence = gather_evidence(device, bundle, target, Expected(graph, inputs, truth, unquantized))
    rows = [row.model_dump(mode="json", exclude={"histogram"}) for row in evidence.rows]
    found |= {"kernels": [evidence.kernels.int8, evidence.kernels.total], "parity": rows}
    if evidence.layers is not None:
        found["layers"] = evidence.layers.model_dump(mode="json")
    if evidence.broken or evidence.weak:
        return found | {"status": "failed" if evidence.broken else "weak", "reason": evidence.broken or evidence.weak}
    return found


def yardstick(graphs: Graphs, way: str, graph: onnx.ModelProto) -> onnx.ModelProto:
    """What a QDQ graph must resemble: its float original; once fine-tuned, its own weights with float activations."""
    return graphs.graph("float", "") if way == "calibrated" else strip_activations(graph)[0]


@dataclass
class Bench:
    """The results so far."""

    fresh: bool
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if RESULTS.is_file():
            self.document = json.loads(RESULTS.read_text())
        with closing(open_device("local:")) as device:
            machine = machine_facts(device).model_dump(mode="json")
        self.document |= {"machine": machine, "versions": versions(), "samples": SAMPLES}
        self.document.setdefault("networks", {})

    def run(self, name: str, backends: list[str], ways: list[str]) -> None:
        """Every missing cell of one network."""
        graphs = Graphs(NETWORKS[name])
        row = self.document["networks"].setdefault(name, {"title": NETWORKS[name].title, "cells": {}})
        for backend in backends:
            for way in ways:
                label = f"{backend} {way}"
                key = self._key(graphs, way, TARGETS[backend])
                if row["cells"].get(label, {}).get("key") == key and not self.fresh:
                    continue
                started = time.monotonic()
                found = cell(graphs, way, TARGETS[backend])
                seconds = round(time.monotonic() - started, 1)
                row["cells"][label] = found | {"key": key, "seconds": seconds, "commit": origin().commit}
                row["parameters"] = sum(parameter.numel() for parameter in graphs.model.parameters())
                write_json(RESULTS, self.document)
                Console().print(f"{name}, {label}: {found['status']} {found.get('reason') or ''}"[:300])

    def _key(self, graphs: Graphs, way: str, target: Target) -> str:
        """What a cell depends on: its graph, its target, the backend's code."""
        try:
            graph = sha256_of(graphs.graph(way, target.scheme))
        except EdgekdError as error:
            graph = str(error)
        folder = BACKENDS / target.backend
        sources = sorted(folder.rglob("*.py")) if folder.is_dir() else [BACKENDS / f"{target.backend}.py"]
        return digest([graph, target.model_dump(mode="json"), [sha256(path) for path in sources]])


def sha256_of(graph: onnx.ModelProto) -> str:
    """Of a graph's bytes."""
    return digest([graph.SerializeToString(deterministic=True).hex()])


def table(document: dict[str, Any], ways: list[str]) -> Table:
    """A row per network, a column per backend and way."""
    tried = {column for row in document["networks"].values() for column in row["cells"]}
    columns = [column for backend in TARGETS for way in ways if (column := f"{backend} {way}") in tried]
    shown = Table("network", *columns, box=None)
    for name, row in document["networks"].items():
        shown.add_row(name, *(summary(row["cells"].get(column)) for column in columns))
    return shown


def summary(found: dict[str, Any] | None) -> str:
    """One cell in a few words."""
    if found is None:
        return "–"
    int8, total = found.get("kernels", (None, None))
    worst = max((row["p999"] or 0 for row in found.get("parity", [])), default=None)
    kernels = "" if int8 is None else f" {int8}/{total}"
    return f"{found['status']}{kernels}" + ("" if worst is None else f" {worst:.1f}")


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NET")
    parser.add_argument("--backends", nargs="+", choices=list(TARGETS), default=DEFAULT)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--fresh", action="store_true", help="run cells that are done already, too")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.fresh)
    for name in arguments.only:
        bench.run(name, arguments.backends, arguments.ways)
    Console(width=240).print(table(bench.document, arguments.ways))
    return 0


if __name__ == "__main__":
    sys.exit(main())
