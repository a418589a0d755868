"""What hashing and guarding cost, and what `make demo` takes, beside the commit before them; all in one run.

  compare   two results files of 10^5 rows each, no key twice, beside BEFORE (goal: at most 1/8 of its time), and of
            10^6 rows (goal: at most 12 times that of 10^5)
  export    a float model of 100 MB to x86-onnxruntime, beside BEFORE, in turns (goal: at most 1.05 of its time)
  finished  a short `edgekd run quickstart` on a folder where nothing is left to do (goal: at most 3 s)
  demo      `edgekd run` of the quickstart that BEFORE had, whole, in turns (goal: at most 0.82 of its
            time); ten minutes of CPU a round, so it is asked for by name: `guards.py demo --rounds 1`

Time is that of the processors, of a command and all that it starts, which another program moves least; of `finished`
it is the clock's, too. A ratio is the median over rounds of the round's own ratio, with the interval of
`edgekd.measure.statistics`. The sources of BEFORE are unpacked below `build`. Each part is written as soon as it is
done; the first three take six minutes of CPU, and 3 GB of disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure.facts import Machine, machine_facts
from edgekd.measure.results import Row
from edgekd.measure.statistics import Latency, interval
from edgekd.pipeline.summary import versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "guards.json"
BEFORE = "d9a7518"
SHORT = (  # what is asked for is how long it takes to find that all is done
    "teacher.training.epochs=1", "student.training.epochs=1", "quantization.epochs=1", "benchmark.replicates=1",
    "data.limit=500",
)  # fmt: skip
WIDTH, LAYERS, SAMPLES = 1280, 16, 64  # 16 × 1280² float32: 105 MB


class Spent(NamedTuple):
    """What a command took: seconds of the processors and of the clock, peak memory of its largest process in MB."""

    cpu: float
    clock: float
    peak_mb: float


def main() -> None:
    """Measure the parts that are asked for and keep them."""
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "compare": compared, "export": exported, "finished": finished, "demo": demonstrated,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[part for part in parts if part != "demo"])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "guards")
    parser.add_argument("--rounds", type=int, default=5)
    run = ROOT / "build" / "guards" / "run"
    parser.add_argument("--run", type=Path, default=run, help="run folder of a short quickstart")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name in arguments.parts:
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        with closing(open_device("local:")) as host:
            found |= {"before": BEFORE, "machine": machine_facts(host).model_dump(mode="json"), "versions": versions()}
        load = os.getloadavg()[0]
        found[name] = parts[name](arguments) | {"load_average": [round(load, 1), round(os.getloadavg()[0], 1)]}
        write_json(RESULTS, found)
        print(name, json.dumps(found[name], indent=2))


def sources(out: Path, commit: str = BEFORE) -> Path:
    """Unpack a commit, with the links that its install would have made; return its folder."""
    folder = out / commit
    if not folder.exists():
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        for name in ("export", "targets"):
            (folder / "edgekd" / f"_{name}").symlink_to(folder / name)
    return folder


def spent(code: Path, *words: object, threads: str = "1") -> Spent:
    """Run the edgekd of some sources; what it and its children took."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-P", "-m", "edgekd", *map(str, words)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    clock = time.perf_counter() - begin
    code_of = os.waitstatus_to_exitcode(status)
    if code_of:
        raise SystemExit(f"{' '.join(command)} of {code} ended with {code_of}")
    return Spent(usage.ru_utime + usage.ru_stime, clock, usage.ru_maxrss / 1000)


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sizes of file; the old code takes the smaller one alone."""
    old = sources(arguments.out)
    small, large = (files(arguments.out, 10**power) for power in (5, 6))
    now = [spent(ROOT, "compare", *small, "--json") for _ in range(3)]
    before, more = spent(old, "compare", *small, "--json"), spent(ROOT, "compare", *large, "--json")
    for path in large:
        path.unlink()
    cpu = median(run.cpu for run in now)
    return {
        "rows": [10**5, 10**6], "before": before._asdict(), "now": [run._asdict() for run in now],
        "ten_times_the_rows": more._asdict(), "share_of_before": cpu / before.cpu, "growth": more.cpu / cpu,
    }  # fmt: skip


def files(out: Path, count: int) -> tuple[Path, Path]:
    """Two results files of so many rows, the later one 2 % slower."""
    machine = Machine(
        cpu="c", arch="x86_64", cores=2, flags=(), memory_mb=None, kernel="6", python="3.11", governor=None,
        frequency_mhz=None, max_frequency_mhz=None,
    )  # fmt: skip
    paths = (out / f"before-{count}.jsonl", out / f"after-{count}.jsonl")
    for path, p50 in zip(paths, (1.0, 1.02), strict=True):
        latency = Latency(
            p50=p50, p90=p50, p99=p50, low=p50 - 0.01, high=p50 + 0.01, n=500, replicates=5, first_ms=p50,
            load_ms=1.0, peak_rss_mb=None, throughput=1000 / p50,
        )  # fmt: skip
        row = Row(
            time="2026-01-01T00:00:00+00:00", machine=machine, target="NAME", label="int8", backend="openvino",
            runtime="OpenVINO", runtime_version="1", artifact="0" * 64, runner="1" * 64, inputs="2" * 64,
            precision="f32", batch=1, threads=1, latency=latency,
        )  # fmt: skip
        begin, end = row.model_dump_json(exclude_unset=True).split("NAME")  # what the old code knows
        with path.open("w") as stream:
            stream.writelines(f"{begin}t{number}{end}\n" for number in range(count))
    return paths


def exported(arguments: argparse.Namespace) -> dict[str, Any]:
    """In turns, so that what slows one of them slows the other."""
    old, model = sources(arguments.out), arguments.out / "model.onnx"
    onnx.save(network(), model)
    samples = np.random.default_rng(0).normal(0, 1, (SAMPLES, WIDTH)).astype(np.float32)
    np.savez(arguments.out / "samples.npz", x=samples)
    words = ("export", model, "--target", "x86-onnxruntime", "--calibration", arguments.out / "samples.npz")
    rounds = [turn(old, arguments.out, words) for _ in range(arguments.rounds)]
    ratios = [now.cpu / before.cpu for before, now in rounds]
    low, high = interval(ratios)
    return {
        "bytes": model.stat().st_size,
        "rounds": [{"before": before._asdict(), "now": now._asdict()} for before, now in rounds],
        "ratio": {"median": median(ratios), "low": low, "high": high},
    }


def turn(old: Path, out: Path, words: Sequence[object]) -> tuple[Spent, Spent]:
    """One export by the old sources, one by these."""
    before, now = (spent(code, *words, "--out", out / name) for code, name in ((old, "old"), (ROOT, "new")))
    return before, now


def network() -> onnx.ModelProto:
    """Layers of a perceptron, each of which keeps the scale of what it gets."""
    random = np.random.default_rng(0)
    weights = [random.normal(0, (2 / WIDTH) ** 0.5, (WIDTH, WIDTH)).astype(np.float32) for _ in range(LAYERS)]
    held = [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)]
    nodes = list(_nodes())
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(nodes, "perceptron", [value], [output], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _nodes() -> Iterator[onnx.NodeProto]:
    name = "x"
    for index in range(LAYERS):
        yield helper.make_node("Gemm", [name, f"w{index}"], [f"h{index}"], f"layer{index}")
        name = f"h{index}"
        if index < LAYERS - 1:
            yield helper.make_node("Relu", [name], [f"r{index}"], f"relu{index}")
            name = f"r{index}"


def finished(arguments: argparse.Namespace) -> dict[str, Any]:
    """Finish the run where it is not, then ask for it again."""
    words = ("run", "quickstart", "--out", arguments.run, "--json", *(f"--set={setting}" for setting in SHORT))
    spent(ROOT, *words)
    again = [spent(ROOT, *words) for _ in range(arguments.rounds)]
    return {
        "cpu_s": median(run.cpu for run in again), "clock_s": median(run.clock for run in again),
        "rounds": [run._asdict() for run in again],
    }  # fmt: skip


def demonstrated(arguments: argparse.Namespace) -> dict[str, Any]:
    """In turns, from what is committed; the seconds of each stage as each run's own record tells them."""
    commit = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    now = commit.stdout.decode().strip()
    sides = {"before": sources(arguments.out), "now": sources(arguments.out, now)}
    recipe = sides["before"] / "edgekd" / "recipes" / "quickstart.toml"
    rounds = [
        {name: demo(code, recipe, arguments.out / f"demo-{name}") for name, code in sides.items()}
        for _ in range(arguments.rounds)
    ]
    ratios = [turn["now"]["cpu"] / turn["before"]["cpu"] for turn in rounds]
    low, high = interval(ratios)
    return {"now": now, "rounds": rounds, "ratio": {"median": median(ratios), "low": low, "high": high}}


def demo(code: Path, recipe: Path, out: Path) -> dict[str, Any]:
    """One whole run of quickstart, with the threads that it asks for."""
    took = spent(code, "run", recipe, "--fresh", "--out", out, threads="2")
    stages = json.loads((out / "run.json").read_text())["stages"]
    return took._asdict() | {"stages": {stage["name"]: round(stage["seconds"], 1) for stage in stages}}


if __name__ == "__main__":
    main()
