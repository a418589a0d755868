"""Mixed precision by the measured exchange rate, beside the choice by error alone: what is predicted, and what is so.

A cell is a network and a runtime. Both orders keep the fewest layers in float that bring the outputs so many decibels
nearer to float than int8 is; all choices are timed in turns with int8 and float, one thread, batch 1, in fresh
processes, so that a busy machine falls on all alike: what counts is each one's time by int8's. A cell is written to
`results/mixed.json` as soon as it is done; interrupted, the same command goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from architectures import NETWORKS
from networks import Graphs, sha256_of
from rich.console import Console
from rich.table import Table

from edgekd.backends.reference import Reference
from edgekd.devices import open_device
from edgekd.errors import EdgekdError
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.exchange import FLOAT, INT8, Bench, measured_rates, quantized
from edgekd.pipeline.origin import origin, versions
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.exchange import Boundaries, Steps, by_rate
from edgekd.quantization.mixed_precision import by_error, fewest
from edgekd.quantization.parts import parts_of
from edgekd.quantization.scheme import find_scheme
from edgekd.quantization.sensitivity import nearness
from edgekd.target import load_target

RESULTS = Path(__file__).parent / "results" / "mixed.json"
NETS = ("ds-cnn", "u-net", "mobilenet-v3-small", "mobilenet-v2", "resnet18")
RUNTIMES = ("onnxruntime", "openvino", "tflite")
CLOSER = (1.5, 3.0, 6.0)  # dB
NEAR = 0.15  # of the measured time, that a prediction may be off
NOT_WORSE = 1.02  # times the other choice's


def cell(graphs: Graphs, runtime: str) -> dict[str, Any]:
    """One network on one runtime: its rates, and for each budget what both orders choose."""
    target, batches = load_target(f"x86-{runtime}"), [{"input": batch.numpy()} for batch in graphs.batches]
    calibrator, scheme = Calibrator(graphs.graph("float", ""), batches), find_scheme(target.scheme)
    boundaries, parts = Boundaries(calibrator, scheme), parts_of(calibrator.plain)
    exact = Reference(calibrator.plain).run(batches[1])

    def db(model: onnx.ModelProto) -> float:
        return nearness(exact, Reference(model).run(batches[1]), parts).db

    with closing(open_device("local:")) as device, TemporaryDirectory(prefix="edgekd-") as scratch:
        rates = measured_rates(boundaries, target, batches[0], device)
        orders: dict[str, Steps] = {
            "rate": by_rate(boundaries, rates, batches[0]),
            "error": by_error(calibrator, scheme, batches[0]),
        }
        plain = quantized(boundaries, ())
        bench = Bench(device, target, batches[0], Path(scratch))
        bundles = {INT8: bench.write(INT8, plain), FLOAT: bench.write(FLOAT, calibrator.plain)}
        start, choices = db(plain), {}
        for closer in CLOSER:
            for name, steps in orders.items():
                chosen = fewest(calibrator, scheme, steps, _reaches(db, start + closer))
                label = f"{name} {closer:g}"
                bundles[label] = bench.write(label, chosen.model)
                choices[label] = {
                    "order": name, "closer_db": closer, "db": round(db(chosen.model), 2), "met": chosen.met,
                    "kept": list(chosen.kept), "crossing": boundaries.crossing(chosen.kept),
                    "predicted": round(boundaries.priced(chosen.kept, rates) / rates.int8_us, 4),
                }  # fmt: skip
        times = bench.times(bundles)
    for label, choice in choices.items():
        choice["measured"] = round(times[label] / times[INT8], 4)
    return {
        "layers": len(boundaries.layers), "priced": len(rates.float_us), "int8_db": round(start, 2),
        "int8_us": round(times[INT8], 2), "float": round(times[FLOAT] / times[INT8], 4),
        "element_ns": round(rates.element_ns, 4), "choices": list(choices.values()),
    }  # fmt: skip


def _reaches(db: Callable[[onnx.ModelProto], float], least: float) -> Callable[[onnx.ModelProto], bool]:
    return lambda model: db(model) >= least


def verdict(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How many predictions are near, and whether the choice by rate is worse anywhere than that by error alone."""
    found = [choice for each in cells.values() for choice in each.get("choices", ()) if choice["kept"]]
    rate = [choice for choice in found if choice["order"] == "rate"]
    near = [choice for choice in rate if abs(choice["predicted"] / choice["measured"] - 1) <= NEAR]
    by_runtime: dict[str, list[float]] = {}
    for label, each in cells.items():
        pairs: dict[float, dict[str, float]] = {}
        for choice in each.get("choices", ()):
            pairs.setdefault(choice["closer_db"], {})[choice["order"]] = choice["measured"]
        by_runtime.setdefault(label.rpartition(" ")[2], []).extend(
            pair["rate"] / pair["error"] for pair in pairs.values()
        )
    return {
        "predictions": len(rate), "within_15_percent": len(near),
        "share": round(len(near) / len(rate), 3) if rate else None,
        "rate_by_error": {
            runtime: {
                "mean": round(float(torch.tensor(ratios).log().mean().exp()), 3),
                "worse": sum(ratio > NOT_WORSE for ratio in ratios), "cases": len(ratios),
            }
            for runtime, ratios in by_runtime.items() if ratios
        },
    }  # fmt: skip


class Results:
    """Those so far."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        with closing(open_device("local:")) as device:
            self.document["machine"] = machine_facts(device).model_dump(mode="json")
        self.document["versions"] = versions()
        self.document.setdefault("cells", {})

    def run(self, name: str, runtime: str, again: bool) -> None:
        """A cell, if it is missing."""
        graphs, label = Graphs(NETWORKS[name]), f"{name} {runtime}"
        key = sha256_of(graphs.graph("float", ""))
        if self.document["cells"].get(label, {}).get("key") == key and not again:
            return
        started = time.monotonic()
        try:
            found = cell(graphs, runtime)
        except EdgekdError as error:
            found = {"refused": str(error)}
        seconds = round(time.monotonic() - started, 1)
        self.document["cells"][label] = found | {"key": key, "seconds": seconds, "commit": origin().commit}
        self.document["verdict"] = verdict(self.document["cells"])
        write_json(RESULTS, self.document)
        Console().print(f"{label}: {seconds} s")


def table(document: Mapping[str, Any]) -> Table:
    """A row per choice: times by int8's."""
    shown = Table("network and runtime", "choice", "in float", "dB", "predicted", "measured", "float", box=None)
    for label, each in document["cells"].items():
        for choice in each.get("choices", ()):
            shown.add_row(
                label, f"{choice['order']} +{choice['closer_db']:g} dB", f"{len(choice['kept'])} of {each['layers']}",
                f"{each['int8_db']:.1f} → {choice['db']:.1f}", f"{choice['predicted']:.2f} ×",
                f"{choice['measured']:.2f} ×", f"{each['float']:.2f} ×",
            )  # fmt: skip
    return shown


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETS), metavar="NET")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--again", action="store_true", help="run cells that are done already, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = Results()
    for name in arguments.only:
        for runtime in arguments.runtimes:
            results.run(name, runtime, arguments.again)
    Console(width=200).print(table(results.document), json.dumps(results.document.get("verdict"), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
