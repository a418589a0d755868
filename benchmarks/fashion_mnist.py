"""Full Fashion-MNIST: one teacher, three student seeds, every target; what was promised against what was found.

Takes hours on two cores; interrupted, the same command continues. Writes `results/fashion-mnist.json` (the run) and
`results/fashion-mnist.jsonl` (latency rows, without their samples, for `edgekd compare`).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgekd.files import write_bytes, write_json
from edgekd.measure.results import read_rows
from edgekd.pipeline.road import run_recipe
from edgekd.progress import Reporter
from edgekd.recipe import load_recipe
from edgekd.reporting.tables import summary

RESULTS = Path(__file__).parent / "results"


def promises(run: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Each promise with what was found, and whether it holds."""
    tflite, openvino = run["targets"]["x86-tflite"]["variants"], run["targets"]["x86-openvino"]["variants"]
    teacher, size = run["teacher"]["metric"]["mean"], tflite["int8"]["bytes"]
    drop = tflite["float"]["metric"]["mean"] - tflite["int8"]["metric"]["mean"]
    faster = {name: _ratio(variants) for name, variants in (("TFLite", tflite), ("OpenVINO", openvino))}
    return [
        ("teacher ≥ 93 %", f"{100 * teacher:.2f} %", teacher >= 0.93),
        ("int8 .tflite ≤ 100 kB", f"{size / 1000:.1f} kB", size <= 100_000),
        ("int8 .tflite within 0.3 points of float", f"{100 * drop:+.2f} points", drop <= 0.003),
        ("TFLite int8 ≥ 2 × as fast as float32", f"{faster['TFLite']:.2f} ×", faster["TFLite"] >= 2),
        ("OpenVINO int8 faster than f32", f"{faster['OpenVINO']:.2f} ×", _disjoint(openvino)),
    ]


def _ratio(variants: dict[str, Any]) -> float:
    return float(variants["float"]["latency_ms"]["p50"] / variants["int8"]["latency_ms"]["p50"])


def _disjoint(variants: dict[str, Any]) -> bool:
    return bool(variants["int8"]["latency_ms"]["high"] < variants["float"]["latency_ms"]["low"])


def main() -> int:
    """Run, print, write; 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/fashion-mnist"), help="run folder")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override a key of the recipe")
    arguments = parser.parse_args()
    recipe = load_recipe("fashion-mnist", ["seeds=3", *arguments.set])
    outcome = run_recipe(recipe, arguments.out, Reporter(arguments.out / "events.jsonl"))
    rows = [row.model_copy(update={"samples": ()}) for row in read_rows(arguments.out / "results.jsonl")]
    write_json(RESULTS / "fashion-mnist.json", outcome.run)
    write_bytes(RESULTS / "fashion-mnist.jsonl", "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    table = Table("promise", "found", "holds", box=None)
    for promise, found, holds in promises(outcome.run):
        table.add_row(promise, found, "yes" if holds else "[red]no")
    Console().print(summary(outcome.run), "", table)
    outcome.raise_for_promises()
    return 0 if all(holds for *_, holds in promises(outcome.run)) else 1


if __name__ == "__main__":
    sys.exit(main())
