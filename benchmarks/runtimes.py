"""Runtimes beyond those of the big table: networks that people deploy, each to a proven result there.

A section of `results/runtimes.json` is a runtime: places, each a target, a device and a precision. A cell is a network
in a place: whether parity holds, how many of its values are the host's own bit for bit, and how long an inference
takes, which an emulated board does not tell. It is written as soon as it is done; one whose graph, target and code have
not changed is not run again.

    python benchmarks/runtimes.py [RUNTIME …]
    python -m tests.devices.emulated pi -- python benchmarks/runtimes.py ncnn     # with an emulated board

What a place needs and is not here skips its cells, with the reason; those that were filled before stay.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from architectures import NETWORKS, Network
from architectures.network import blobs
from networks import BACKENDS, BATCH, Graphs, sha256_of, yardstick
from rich.console import Console
from rich.table import Table

from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import Precision
from edgekd.backends.conversion import to_bundle
from edgekd.backends.placement import PLACEMENT, Placement
from edgekd.backends.reference import Reference, reference_graph
from edgekd.bundle import Manifest
from edgekd.devices import Device, open_device, transport_of
from edgekd.errors import DeviceError, EdgekdError, MissingExtraError, MissingRuntimeError
from edgekd.files import digest, sha256, write_json
from edgekd.measure import measure, predict
from edgekd.measure.facts import machine_facts
from edgekd.measure.stand_in import stand_in_on
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.parity_evidence import Expected, gather_evidence
from edgekd.reading import read_json
from edgekd.students import resnet
from edgekd.target import load_target

RESULTS = Path(__file__).parent / "results" / "runtimes.json"
STUDENT = Network("ResNet-8, quickstart's student", lambda: resnet.build(10, 1), blobs(1, 28, 28), ("head.2",))
ROWS = {"resnet8": STUDENT} | {name: NETWORKS[name] for name in ("ds-cnn", "mobilenet-v2", "u-net", "vit-tiny")}
MORE = {"qnn": ("convnext",)}  # what only some runtimes take whole
WAY = "calibrated"
FEW: dict[str, Any] = {"replicates": 5, "seconds": 0.5, "count": 20}


@dataclass(frozen=True)
class Place:
    """A target, the device that runs what is compiled for it, and in which precision."""

    target: str
    device: str = "local:"
    precision: Precision = "int8"

    def __str__(self) -> str:
        """The name of a column."""
        return f"{self.target} on {self.device}" + ("" if self.precision == "int8" else f", {self.precision}")

    @property
    def way(self) -> str:
        """Which graph it takes."""
        return WAY if self.precision == "int8" else "float"


RUNTIMES: Mapping[str, tuple[Place, ...]] = {
    "qnn": (Place("snapdragon-8-gen3"), Place("snapdragon-8-elite"), Place("rb3-gen2")),
    "web": (
        Place("web-onnxruntime", "web:chromium"),
        Place("web-onnxruntime", "web:firefox"),
        Place("web-litert", "web:chromium"),
        Place("web-litert", "web:firefox"),
    ),
    "ethos-u": (Place("ethos-u55-128"), Place("ethos-u65-256"), Place("ethos-u85-256")),
    "ncnn": tuple(
        Place(target, device, precision)
        for target, device in (("x86-ncnn", "local:"), ("raspberry-pi-5-ncnn", "ssh://pi"))
        for precision in ("int8", "float", "float16")
    ),
}


def cell(graphs: Graphs, place: Place) -> dict[str, Any]:
    """One network in one place."""
    try:
        opened = open_device(place.device)
    except DeviceError as error:
        return {"status": "skipped", "reason": str(error)}
    try:
        with TemporaryDirectory(prefix="edgekd-") as scratch, closing(opened) as device:
            return deployed(graphs, place, device, Path(scratch) / "bundle")
    except (MissingExtraError, MissingRuntimeError) as error:
        return {"status": "skipped", "reason": str(error)}
    except EdgekdError as error:
        return {"status": "refused", "reason": str(error)}


def deployed(graphs: Graphs, place: Place, device: Device, bundle: Path) -> dict[str, Any]:
    """The bundle, its parity on the device, its values beside the host's, and its latency."""
    target, emulated = load_target(place.target), machine_facts(device).emulated
    if emulated:
        target = target.model_copy(update={"threads": 1})  # more would spin
    graph, inputs = graphs.graph(place.way, target.scheme), {"input": graphs.samples.numpy()}
    truth = Reference(reference_graph(graph, target.backend)).run(inputs, batch=BATCH)
    other = beside(graphs, place.precision, graph, target.scheme)
    unquantized = None if other is None else Reference(other).run(inputs, batch=BATCH)
    manifest = write_bundle(
        graph, target, bundle, place.precision, name="network", inputs=inputs, outputs=truth, unquantized=unquantized
    )
    evidence = gather_evidence(device, bundle, target, Expected(graph, inputs, truth, unquantized))
    rows = [row.model_dump(mode="json", exclude={"histogram"}) for row in evidence.rows]
    found = {"bytes": manifest.model_bytes, "kernels": [evidence.kernels.int8, evidence.kernels.total], "parity": rows}
    found |= {"scheme": manifest.scheme, "executed": stand_in_on(device, target.backend)} | placed(bundle, manifest)
    if evidence.layers is not None:
        found["layers"] = evidence.layers.model_dump(mode="json")
    found |= manifest.model_dump(mode="json", include={"footprint"}, exclude_defaults=True)
    if evidence.broken or evidence.weak:
        return found | {"status": "failed" if evidence.broken else "weak", "reason": evidence.broken or evidence.weak}
    found |= {"status": "ok", "equal_to_host": equal_to_host(device, bundle, manifest, inputs)}
    return found | ({} if emulated or found["executed"] else timed(device, bundle))


def placed(bundle: Path, manifest: Manifest) -> dict[str, Any]:
    """How many operations a compiler has put where, and in how many parts; nothing where it does not tell."""
    if PLACEMENT not in manifest.files:
        return {}
    placement = Placement.parse(read_json(bundle / PLACEMENT), PLACEMENT)
    counts = Counter(op.precision or op.unit if op.unit == "NPU" else "CPU" for op in placement.ops)
    return {"placed": dict(counts), "islands": placement.islands}


def beside(graphs: Graphs, precision: Precision, graph: onnx.ModelProto, scheme: str) -> onnx.ModelProto | None:
    """What says how far from its graph a runtime may be: of int8 its float network, of float16 the int8 one."""
    if precision == "float":
        return None
    return yardstick(graphs, WAY, graph) if precision == "int8" else graphs.graph(WAY, scheme)


def equal_to_host(device: Device, bundle: Path, manifest: Manifest, inputs: Mapping[str, Any]) -> float | None:
    """The share of values that the host's own runtime gives bit for bit; None where the device is the host."""
    if device.uri == "local:":
        return None
    stored = {spec.name: to_bundle(spec, inputs[spec.name]) for spec in manifest.inputs}
    there = predict(device, bundle, stored, manifest.batch)
    with closing(open_device("local:")) as host:
        here = predict(host, bundle, stored, manifest.batch)
    return float(np.mean(np.concatenate([(there[name] == here[name]).ravel() for name in here])))


def timed(device: Device, bundle: Path) -> dict[str, Any]:
    """Latency and first load, in ms, and what measured."""
    found = measure(device, {"int8": (bundle, {})}, **FEW)["int8"]
    first = found.replicates[0]
    shown = found.latency.model_dump(mode="json", include={"p50", "low", "high", "load_ms", "first_ms", "flags"})
    return shown | {"runtime": f"{first.start.runtime} {first.start.runtime_version}", "details": first.load.details}


def key_of(graphs: Graphs, place: Place) -> str:
    """What a cell depends on: its graph, its target, the code of backend and transport."""
    target = load_target(place.target)
    graph = sha256_of(graphs.graph(place.way, target.scheme))
    folders = (BACKENDS / target.backend, *((BACKENDS.parent / "web",) if place.device.startswith("web:") else ()))
    sources = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    code = [sha256(path) for path in sources if path.suffix != ".pyc"]
    return digest([graph, target.model_dump(mode="json"), place.device, code, transport_of(place.device)])


def run(document: dict[str, Any], runtime: str, name: str) -> None:
    """Every missing cell of one network on one runtime."""
    network = (ROWS | NETWORKS)[name]
    graphs, section = Graphs(network), document["runtimes"].setdefault(runtime, {})
    row = section.setdefault(name, {"title": network.title, "cells": {}})
    for place in RUNTIMES[runtime]:
        label, key = str(place), key_of(graphs, place)
        if row["cells"].get(label, {}).get("key") == key:
            continue
        started = time.monotonic()
        found = cell(graphs, place)
        seconds = round(time.monotonic() - started, 1)
        if found["status"] == "skipped":
            row["cells"].setdefault(label, found)
        else:
            row["cells"][label] = found | {"key": key, "seconds": seconds, "commit": origin().commit}
        write_json(RESULTS, document)
        Console().print(f"{name}, {label}: {found['status']} {found.get('reason') or ''}"[:300])


def table(section: Mapping[str, Any]) -> Table:
    """A row per network, a column per place."""
    columns = list(dict.fromkeys(label for row in section.values() for label in row["cells"]))
    shown = Table("network", *columns, box=None)
    for name, row in section.items():
        shown.add_row(name, *(summary(row["cells"].get(column)) for column in columns))
    return shown


def summary(found: Mapping[str, Any] | None) -> str:
    """One cell in a few words."""
    if found is None:
        return "–"
    equal = found.get("equal_to_host")
    words = [found["status"], *([] if equal is None else [f"{equal:.2%} equal"])]
    return ", ".join([*words, *([f"{found['p50']:.3g} ms"] if "p50" in found else [])])


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help=", ".join(RUNTIMES))
    parser.add_argument("--only", nargs="+", choices=[*ROWS, *NETWORKS], metavar="NET")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runtimes": {}}
    with closing(open_device("local:")) as device:
        document |= {"machine": machine_facts(device).model_dump(mode="json"), "versions": versions()}
    for runtime in arguments.runtimes or RUNTIMES:
        for name in arguments.only or [*ROWS, *MORE.get(runtime, ())]:
            run(document, runtime, name)
        Console(width=200).print(table(document["runtimes"][runtime]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
