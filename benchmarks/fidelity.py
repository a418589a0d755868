"""Whether our numbers are the vendors': the same file, the same machine, in turns.

MobileNetV2 at 224 x 224 in float32, one thread, batch 1:
  vendors   our p50 / OpenVINO's `benchmark_app` (-hint none -api sync, one stream) and LiteRT's `litert-benchmark`,
            in rounds A B, B A; the median of the rounds' ratios (goal: within 3 %)
  loadgen   percentiles and early stopping from the trace that MLPerf's LoadGen leaves (goal: equal to LoadGen's own)
  overhead  what the runner's loop adds to an inference beyond a bare loop (goal: at most 2 µs)
  alarms    a bundle against itself, 40 times (goal: at most 2 differences claimed)
  orchestration  eight devices behind a loopback sshd, each asleep for 5 s, over one alone (goal: at most 1.2 times)
Needs `pip install mlcommons-loadgen ml_dtypes`, and an sshd for the last. Each part is written to
`results/fidelity.json` as soon as it is done.
Takes ten minutes on an idle machine.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from edgekd.backends.assemble import write_bundle
from edgekd.devices import Device, open_device
from edgekd.files import write_json
from edgekd.measure import Session, measure
from edgekd.measure.facts import machine_facts
from edgekd.measure.statistics import early_stopping, interval, order_statistic, percentile
from edgekd.pipeline.fleet import Member, on_each
from edgekd.pipeline.summary import versions
from edgekd.quantization.qat import export_float
from edgekd.recipe import Model
from edgekd.runner.verbs import timed
from edgekd.students import build_model
from edgekd.target import load_target

RESULTS = Path(__file__).parent / "results" / "fidelity.json"
SHAPE = (3, 224, 224)
SECONDS, WITHIN = 3.0, 0.03
TOOLS = Path(sys.executable).parent


def bundles(folder: Path) -> dict[str, Path]:
    """MobileNetV2 in float for each runtime."""
    model = build_model(Model(model="mobilenet"), 10, SHAPE, seed=0).eval()
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    graph = export_float(model, images[:2])
    with torch.no_grad():
        answers = model(images).numpy()
    for name in ("openvino", "tflite"):
        write_bundle(
            graph, load_target(f"x86-{name}"), folder / name, "float", name="mobilenet",
            inputs={"input": images.numpy()}, outputs={"logits": answers},
        )  # fmt: skip
    return {name: folder / name for name in ("openvino", "tflite")}


def ours(device: Device, bundle: Path) -> float:
    """Our median in ms, of one fresh process."""
    return percentile(Session(device, bundle, threads=1).bench(SECONDS).timing.samples_ms, 0.5)


def benchmark_app(bundle: Path) -> float:
    """OpenVINO's median in ms, rounded to 0.01 ms."""
    command = [str(TOOLS / "benchmark_app"), "-m", str(bundle / "model.xml"), "-d", "CPU", "-hint", "none"]
    command += ["-api", "sync", "-nstreams", "1", "-nthreads", "1", "-infer_precision", "f32", "-t", f"{SECONDS:.0f}"]
    command += ["-shape", f"[1,{','.join(map(str, SHAPE))}]"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"Median:\s+([\d.]+) ms", said)[-1])


def litert_benchmark(bundle: Path) -> float:
    """LiteRT's median in ms, rounded to 0.01 ms; it counts runs, not time."""
    with TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        command = [str(TOOLS / "litert-benchmark"), "--model", str(bundle / "model.tflite"), "--num_threads", "1"]
        command += ["--num_runs", "400", "--warmup_runs", "80", "--result_json", str(result)]
        subprocess.run(command, check=True, capture_output=True)
        return float(json.loads(result.read_text())["latency"]["median_ms"])


VENDORS = {"openvino": benchmark_app, "tflite": litert_benchmark}


def vendors(device: Device, rounds: int) -> dict[str, Any]:
    """Our p50 over each vendor's, round by round."""
    with TemporaryDirectory() as scratch:
        return {name: side_by_side(device, name, bundle, rounds) for name, bundle in bundles(Path(scratch)).items()}


def side_by_side(device: Device, name: str, bundle: Path, rounds: int) -> dict[str, Any]:
    """Rounds A B, B A, …, and the median of their ratios."""
    clocks: dict[str, Callable[[Path], float]] = {"ours": partial(ours, device), "theirs": VENDORS[name]}
    pairs = [{key: clocks[key](bundle) for key in list(clocks)[:: -1 if turn % 2 else 1]} for turn in range(rounds)]
    ratios = [pair["ours"] / pair["theirs"] for pair in pairs]
    return {
        "ours_ms": median(pair["ours"] for pair in pairs), "theirs_ms": median(pair["theirs"] for pair in pairs),
        "ratio": median(ratios), "interval": interval(ratios), "rounds": rounds,
        "holds": abs(median(ratios) - 1) <= WITHIN,
    }  # fmt: skip


def loadgen(queries: int = 2000) -> dict[str, Any]:
    """A LoadGen run whose trace we read ourselves."""
    import mlperf_loadgen as lg  # type: ignore[import-not-found]

    def answer(samples: Any) -> None:
        for sample in samples:
            time.sleep(0.0005)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    with TemporaryDirectory() as scratch:
        settings, log, output = lg.TestSettings(), lg.LogSettings(), lg.LogOutputSettings()
        settings.scenario, settings.mode = lg.TestScenario.SingleStream, lg.TestMode.PerformanceOnly
        settings.min_query_count, settings.min_duration_ms = queries, 0
        settings.single_stream_expected_latency_ns = 500_000
        output.outdir, log.log_output, log.enable_trace = scratch, output, True
        system = lg.ConstructSUT(answer, lambda: None)
        library = lg.ConstructQSL(16, 16, lambda _: None, lambda _: None)
        lg.StartTestWithLogSettings(system, library, settings, log, "")
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
        said = (Path(scratch) / "mlperf_log_summary.txt").read_text()
        trace = (Path(scratch) / "mlperf_log_trace.json").read_text()
    times = re.findall(r'"issue_start_ns":(\d+),"complete_ns":(\d+)', trace)  # it is not quite JSON
    samples = [int(end) - int(begin) for begin, end in times]
    rows: list[tuple[str, float | None, int]] = [
        (f"p{float(label):g}", order_statistic(samples, float(label) / 100), int(value))
        for label, value in re.findall(r"([\d.]+) percentile latency \(ns\)\s+: (\d+)", said)
    ]
    rows += [
        (f"early stopping p{float(label):g}", early_stopping(samples, float(label) / 100), int(value))
        for label, value in re.findall(r"Early stopping ([\d.]+)th percentile estimate: (\d+)", said)
    ]
    equal = all(ours == theirs for _, ours, theirs in rows)
    return {"samples": len(samples), "rows": rows, "holds": equal and len(samples) == queries and len(rows) >= 8}


def overhead(loops: int = 200_000, rounds: int = 9) -> dict[str, Any]:
    """Microseconds per inference of the runner's own loop around a step that does nothing, less a bare loop's."""

    def step() -> None:
        return None

    def bare() -> float:
        begin = time.perf_counter_ns()
        for _ in range(loops):
            step()
        return (time.perf_counter_ns() - begin) / loops / 1000

    def ours() -> float:
        begin = time.perf_counter_ns()
        timed(step, 0.0, loops, block=1000)
        return (time.perf_counter_ns() - begin) / loops / 1000

    differences = [ours() - bare() for _ in range(rounds)]
    return {"microseconds": median(differences), "interval": interval(differences), "holds": median(differences) <= 2}


def alarms(device: Device, pairs: int = 40) -> dict[str, Any]:
    """How often a bundle is said to differ from itself."""
    with TemporaryDirectory() as scratch:
        folder = bundles(Path(scratch))["tflite"]
        claimed = 0
        for _ in range(pairs):
            found = measure(device, {"a": (folder, {}), "b": (folder, {})}, seconds=0.1, count=20, threads=1)
            claimed += found["a"].latency.differs_from(found["b"].latency)
    return {"pairs": pairs, "claimed": claimed, "holds": claimed <= pairs / 20}


def orchestration(devices: int = 8, seconds: float = 5.0, rounds: int = 3) -> dict[str, Any]:
    """From the first call to the last folder removed: how much longer a fleet takes than one of it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.devices.loopback import Loopback

    fleet = [Member(uri=f"ssh://board{place}", host=str(place)) for place in range(devices)]

    def took(members: list[Member]) -> float:
        begin = time.perf_counter()
        outcomes = on_each(members, lambda device: device.run(["sleep", str(seconds)], 60).code, timed=True)
        assert [outcome.result for outcome in outcomes] == [0] * len(members), outcomes
        return time.perf_counter() - begin

    with TemporaryDirectory() as scratch:
        board = Loopback(Path(scratch))
        config = Path(board.environment["EDGEKD_SSH_CONFIG"])
        config.write_text(config.read_text().replace("Host board\n", "Host board*\n"))
        os.environ |= board.environment
        try:
            pairs = [(took(fleet[:1]), took(fleet)) for _ in range(rounds)]
        finally:
            board.stop()
    ratio = median(all_of_them / alone for alone, all_of_them in pairs)
    return {"devices": devices, "alone_s": median(pair[0] for pair in pairs), "ratio": ratio, "holds": ratio <= 1.2}


def keep(part: str, found: dict[str, Any]) -> None:
    """Write a part beside the others."""
    document = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with closing(open_device("local:")) as host:
        found["machine"] = machine_facts(host).model_dump(mode="json")
    write_json(RESULTS, document | {part: found | {"versions": versions()}})


def main() -> int:
    """Run, print, write; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("vendors", "loadgen", "overhead", "alarms", "orchestration")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=9, help="of `vendors`")
    arguments = parser.parse_args()
    shown, held = Table("part", "found", "holds", box=None), True
    with closing(open_device("local:")) as device:
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "vendors": lambda: vendors(device, arguments.rounds), "loadgen": loadgen,
            "overhead": overhead, "alarms": lambda: alarms(device), "orchestration": orchestration,
        }  # fmt: skip
        for part in arguments.parts:
            found = parts[part]()
            keep(part, dict(found))
            for name, row in found.items() if part == "vendors" else [(part, found)]:
                held &= row["holds"]
                shown.add_row(name, ", ".join(f"{k} {v}" for k, v in row.items() if k != "holds"), str(row["holds"]))
    Console().print(shown)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
