"""The runner end to end, on the real runtimes."""

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from edgekd.backends.onnxruntime.runtime import OnnxRuntime
from edgekd.runner.bundle import Bundle
from edgekd.runner.cli import obey
from edgekd.runner.verbs import Job, timed
from tests import host
from tests.export.runner import module, run, runner_of
from tests.measure.bundles import BACKENDS, MakeBundle, add_listed, edit_manifest, golden, rehash


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("precision", "int8"), [("int8", 10), ("float", 0)])
def test_census_counts_ten_layers(bundle: MakeBundle, backend: str, precision: str, int8: int) -> None:
    code, records = run("build", bundle(backend, precision))
    kinds = [record["record"] for record in records]
    kernels = records[2]
    assert (code, kinds) == (0, ["start", "load", "kernels", "end"])
    assert (kernels["int8"], kernels["total"]) == (host.int8_kernels(backend, int8), 10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [1, 5])
def test_verify_holds_at_any_batch(bundle: MakeBundle, backend: str, batch: int) -> None:
    code, records = run("verify", bundle(backend), "--batch", str(batch))
    assert code == 0
    assert records[2]["ok"]
    assert 0 <= records[2]["p999_steps"] <= records[2]["max_steps"] <= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_float_outputs_are_the_references_to_rounding(bundle: MakeBundle, backend: str, tmp_path: Path) -> None:
    folder = bundle(backend, "float")
    np.savez(tmp_path / "in.npz", input=golden(folder, "input:input")[:7])
    code, records = run(
        "predict", folder, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out", "--batch", "4"
    )
    expected = golden(folder, "output:logits")[:7]
    with np.load(tmp_path / "out") as outputs:
        # float32 sums in another order: 1e-4 of the output's range is some hundred roundings
        np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4 * np.ptp(expected))
    assert (code, records[2]["n"]) == (0, 7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bench_keeps_every_sample(bundle: MakeBundle, backend: str) -> None:
    code, records = run("bench", bundle(backend), "--seconds", "0.01", "--count", "20", "--warmup", "2", "--batch", "2")
    latency = records[2]
    assert (code, latency["record"], latency["batch"], latency["threads"]) == (0, "latency", 2, 1)
    assert len(latency["samples_ms"]) >= 20
    assert min(latency["samples_ms"]) > 0
    assert latency["first_ms"] > 0
    assert latency["peak_rss_mb"] > 10  # numpy alone takes more
    assert 0 < latency["model_rss_mb"] < latency["peak_rss_mb"]
    assert latency["missing"] == {}
    assert latency["involuntary_switches"] >= 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_is_loaded_cold_and_then_warm(bundle: MakeBundle, backend: str) -> None:
    _, records = run("bench", bundle(backend), "--seconds", "0.01", "--count", "5")
    load, latency = records[1:3]
    assert load["cold"] is True
    # no order is asserted: a small file on a fast disk is read within the scatter of two loads
    assert load["ms"] > 0
    assert latency["warm_load_ms"] > 0
    assert run("build", bundle(backend))[1][1]["cold"] is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_offline_is_a_flow_of_batches_on_all_cores(bundle: MakeBundle, backend: str) -> None:
    arguments = ("--scenario", "offline", "--seconds", "0.05", "--count", "20", "--batch", "4")
    code, records = run("bench", bundle(backend), *arguments)
    latency = records[2]
    assert (code, latency["scenario"], latency["batch"]) == (0, "offline", 4)
    assert latency["threads"] == len(os.sched_getaffinity(0))
    assert min(latency["samples_ms"]) > 0
    if backend != "openvino":  # which has several batches under way, and a sample for as many
        assert len(latency["samples_ms"]) >= 20
        assert sum(latency["samples_ms"]) >= 50
    assert run("bench", bundle(backend), *arguments, "--threads", "1")[1][2]["threads"] == 1


def test_a_flow_counts_every_batch_once() -> None:
    """Four at a time, each of 10 ms: a batch takes 2.5 ms, within what a sleeping thread is late."""
    runner = module()

    class Four(runner.Runtime):
        def stream(self, arrays, more):
            ends = [0]
            while more(ends):
                ends += [ends[-1] + 10_000_000] * 4
            return ends, 4

    job = runner.Job.__new__(runner.Job)
    job.runtime, job.inputs = Four({}), []
    samples, _ = job.flow(1e-9, 40)
    assert samples == [2.5] * 10


def test_cores_are_chosen_before_the_runtime_makes_its_threads(bundle: MakeBundle) -> None:
    """Also by threads that a runtime makes itself: every one that is there after an inference stays where it must."""
    core = max(os.sched_getaffinity(0))
    for backend in BACKENDS:
        finished = subprocess.run(
            [sys.executable, "-c", THREADS, runner_of(bundle(backend)), bundle(backend), str(core), backend],
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.split() == [str(core)], backend


THREADS = """
import importlib.util, pathlib, re, sys
specification = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)
before = set(pathlib.Path("/proc/self/task").iterdir())
arguments = runner.parse_arguments(["bench", sys.argv[2], "--affinity", sys.argv[3], "--threads", "2"])
job = runner.Job(arguments, lambda *_, **__: None, sys.argv[4], runner.RUNTIME)
job.load()
job.infer(job.bundle.golden("input"))
now = set(pathlib.Path("/proc/self/task").iterdir())
main = pathlib.Path("/proc/self/task") / str(runner.os.getpid())
print(*{re.search(r"Cpus_allowed_list:\\s*(.*)", (task / "status").read_text())[1] for task in now - before | {main}})
"""


def test_a_bundle_is_dropped_from_the_page_cache(own_bundle: Path) -> None:
    runner = module()
    with (own_bundle / "model.onnx").open("rb") as stream:
        stream.read()
        assert all(runner.resident_pages(stream.fileno()))
        assert runner.uncached(runner.Bundle(own_bundle))
        assert not any(runner.resident_pages(stream.fileno()))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system in memory")
def test_a_bundle_in_memory_is_never_cold(own_bundle: Path) -> None:
    runner = module()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        folder = Path(shutil.copytree(own_bundle, f"{memory}/bundle"))
        assert runner.uncached(runner.Bundle(folder)) is False


def test_start_says_who_answers(bundle: MakeBundle) -> None:
    _, records = run("build", bundle("onnxruntime"))
    start = records[0]
    assert start["backend"] == "onnxruntime"
    assert start["precision"] == "int8"
    assert start["runtime_version"][0].isdigit()
    assert {"cpu", "cores", "kernel", "arch"} <= set(start["machine"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["int8", "float"])
def test_every_runtime_tells_what_floats_it_computes_in(bundle: MakeBundle, backend: str, precision: str) -> None:
    assert run("build", bundle(backend, precision))[1][1]["details"]["precision"] == "f32"


def test_openvino_holds_float_to_f32_unless_told_otherwise(bundle: MakeBundle) -> None:
    folder = bundle("openvino", "float")
    _, held = run("build", folder)
    _, free = run("build", folder, "--option", "precision=default")
    assert held[1]["details"]["precision"] == "f32"
    assert free[1]["details"]["precision"] in ("f32", "bf16", "f16")  # what this CPU is fastest in


def test_onnxruntime_runs_the_graph_as_written_with_optimize_none(bundle: MakeBundle) -> None:
    _, records = run("build", bundle("onnxruntime"), "--option", "optimize=none")
    assert records[2]["int8"] == 0
    assert records[2]["ops"]["Conv"] == 9


def test_tflite_reference_kernels_agree(bundle: MakeBundle) -> None:
    """The reference kernels requantise in fixed point: 2 quantisation steps here, 5.2 of the coarser range / 255."""
    _, records = run("verify", bundle("tflite"), "--option", "resolver=ref")
    golden = next(record for record in records if record["record"] == "golden")
    assert golden["max_steps"] <= 4 + 1e-3
    assert golden["argmax_agreement"] == 1


def test_options_of_the_manifest_apply_and_the_command_line_overrides_them(own_bundle: Path) -> None:
    edit_manifest(own_bundle, runtime={"optimize": "none"})
    assert run("build", own_bundle)[1][2]["int8"] == 0
    assert run("build", own_bundle, "--option", "optimize=all")[1][2]["int8"] == 10


def test_a_different_output_is_a_mismatch(own_bundle: Path) -> None:
    outputs = golden(own_bundle, "output:logits")
    arrays = {"input:input": golden(own_bundle, "input:input"), "output:logits": np.roll(outputs, 1, axis=1)}
    np.savez(own_bundle / "golden.npz", **arrays)
    rehash(own_bundle)
    code, records = run("verify", own_bundle)
    assert (code, records[-1]["kind"], records[2]["ok"]) == (1, "mismatch", False)
    assert records[2]["argmax_agreement"] < 0.5


@pytest.mark.parametrize(("noise", "holds"), [(2.25, True), (0.25, False)])
def test_a_distance_that_roundings_explain_holds(own_bundle: Path, noise: float, holds: bool) -> None:
    """Three steps are 1.33 times a noise of 2.25 steps, as two roundings may be apart, or 12 times one of 0.25."""
    outputs = golden(own_bundle, "output:logits")
    specs = json.loads((own_bundle / "manifest.json").read_text())["outputs"]
    stored = specs[0]["step"] / (specs[0]["scale"] or 1)
    moved = (outputs + 3 * stored).astype(outputs.dtype)
    np.savez(own_bundle / "golden.npz", **{"input:input": golden(own_bundle, "input:input"), "output:logits": moved})
    edit_manifest(own_bundle, tolerance={"max_steps": 2.0}, outputs=[specs[0] | {"noise": noise * specs[0]["step"]}])
    rehash(own_bundle)
    code, records = run("verify", own_bundle)
    assert (code, records[2]["ok"]) == (0 if holds else 1, holds)
    assert records[2]["max_steps"] >= 2.5
    assert records[2]["drift"] == pytest.approx(3 / noise, rel=0.1)


def test_a_model_is_loaded_once_for_commands_that_ask_the_same_of_it(bundle: MakeBundle) -> None:
    """But for a timing, which starts afresh and loads it twice: as it comes, and warm."""
    loads: list[int] = []

    class Counted(OnnxRuntime):
        def load(self, bundle: Bundle, batch: int, threads: int) -> None:
            loads.append(batch)
            super().load(bundle, batch, threads)

    records, jobs, folder = list[str](), list[Job](), str(bundle("onnxruntime"))
    commands = (["bench", "--batch=2", "--seconds=0.01", "--count=1"], ["verify"], ["build"], ["verify", "--batch=2"])
    for words in commands:
        argv = [*words[:1], folder, *words[1:]]
        assert obey(argv, lambda record, **_: records.append(record), "onnxruntime", Counted, jobs) == 0
    assert loads == [2, 2, 1, 2]
    assert gc.isenabled()  # which a timing does without
    assert records.count("load") == records.count("end") == len(commands)


def test_runs_from_inside_the_bundle(own_bundle: Path) -> None:
    add_listed(own_bundle, "run.py", runner_of(own_bundle).read_bytes())
    finished = subprocess.run([sys.executable, "run.py", "verify"], cwd=own_bundle, capture_output=True, text=True)
    assert json.loads(finished.stdout.splitlines()[-1]) == {"record": "end", "ok": True}


@pytest.mark.perf
def test_the_clock_costs_less_than_two_microseconds() -> None:
    """Per inference, over a bare loop of the same calls; the best of five, as another process may interrupt any one."""
    count = 20_000

    def step() -> None:
        pass

    def bare() -> float:
        begin = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - begin) / count

    def clocked() -> float:
        begin = time.perf_counter()
        timed(step, 1e-9, count, block=100)
        return (time.perf_counter() - begin) / count

    assert min(clocked() for _ in range(5)) - min(bare() for _ in range(5)) < 2e-6
    wall, _ = timed(step, 1e-9, count)
    assert np.median(wall) < 1000  # ns inside the clock, of which the call itself is a part
