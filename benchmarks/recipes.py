"""A recipe over three seeds on every target that it names: what was promised against what was found.

`fashion-mnist` takes hours on two cores, `watch-har` minutes; interrupted, the same command continues. Writes
`results/<recipe>.json` (the run) and `results/<recipe>.jsonl` (latency rows, without their samples, for
`edgekd compare`).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgekd.files import write_bytes, write_json
from edgekd.measure.results import read_rows
from edgekd.pipeline.run import run_recipe
from edgekd.progress import Reporter
from edgekd.recipe import load_recipe
from edgekd.reporting.tables import summary

RESULTS = Path(__file__).parent / "results"
Run = dict[str, Any]
Promise = tuple[str, str, bool]


def on_images(run: Run) -> list[Promise]:
    """Of fashion-mnist: accuracy, size and speed."""
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


def on_a_watch(run: Run) -> list[Promise]:
    """Of watch-har: every bundle proven, and a microcontroller that computes what the host does."""
    targets, micro = run["targets"], run["targets"]["tflm-cortex-m"]
    states = {name: target["status"] for name, target in targets.items()}
    drop = run["float"]["metric"]["mean"] - micro["metric"]["mean"]
    apart = targets["x86-tflite"]["variants"]["int8"]["metric"]["mean"] - micro["metric"]["mean"]
    memory = micro["footprint"]
    executed = [state for name, state in states.items() if name != "jetson-orin-nano"]
    return [
        ("four bundles proven", ", ".join(executed), executed == ["ok"] * 4),
        ("TensorRT checked", states["jetson-orin-nano"], states["jetson-orin-nano"] == "unverified"),
        ("microcontroller within 0.5 points of float", f"{100 * drop:+.2f} points", drop <= 0.005),
        ("microcontroller within 0.3 points of LiteRT", f"{100 * apart:+.2f} points", abs(apart) <= 0.003),
        ("flash ≤ 16 kB", f"{memory['flash_bytes']:,} bytes", memory["flash_bytes"] <= 16_000),
        ("arena ≤ 8 kB", f"{memory['arena_bytes']:,} bytes", memory["arena_bytes"] <= 8_000),
    ]


def on_dense(run: Run) -> list[Promise]:
    """Of dense outputs: every bundle proven, each within a point of the float student, TensorRT checked."""
    plain = run["float"]["metric"]["mean"]
    executed = {name: target for name, target in run["targets"].items() if name != "jetson-orin-nano"}
    drops = {name: plain - target["metric"]["mean"] for name, target in executed.items()}
    states, checked = [target["status"] for target in executed.values()], run["targets"]["jetson-orin-nano"]["status"]
    return [
        ("three bundles proven", ", ".join(states), states == ["ok"] * 3),
        ("TensorRT checked", checked, checked == "unverified"),
        *(
            (f"{name}: int8 within a point of float", f"{100 * drop:+.2f} points", drop <= 0.01)
            for name, drop in drops.items()
        ),
    ]


PROMISES = {
    "fashion-mnist": on_images,
    "fashion-scenes": on_dense,
    "tree-crowns": on_dense,
    "watch-har": on_a_watch,
}


def _ratio(variants: Run) -> float:
    return float(variants["float"]["latency_ms"]["p50"] / variants["int8"]["latency_ms"]["p50"])


def _disjoint(variants: Run) -> bool:
    return bool(variants["int8"]["latency_ms"]["high"] < variants["float"]["latency_ms"]["low"])


def main() -> int:
    """Run, print, write; 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=PROMISES)
    parser.add_argument("--out", type=Path, help="run folder (runs/<recipe>)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override a key of the recipe")
    arguments = parser.parse_args()
    name, folder = arguments.recipe, arguments.out or Path("runs") / arguments.recipe
    recipe = load_recipe(name, ["seeds=3", *arguments.set])
    outcome = run_recipe(recipe, folder, Reporter(folder / "events.jsonl"))
    rows = [row.model_copy(update={"samples": ()}) for row in read_rows(folder / "results.jsonl")]
    run = outcome.run.document()
    write_json(RESULTS / f"{name}.json", run)
    write_bytes(RESULTS / f"{name}.jsonl", "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    table, promises = Table("promise", "found", "holds", box=None), PROMISES[name](run)
    for promise, found, holds in promises:
        table.add_row(promise, found, "yes" if holds else "[red]no")
    Console().print(summary(outcome.run), "", table)
    outcome.raise_for_promises()
    return 0 if all(holds for *_, holds in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
