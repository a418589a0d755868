import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bundle import load_bundle
from edgekd.cli import app
from edgekd.devices import Finished
from edgekd.devices.local import LocalDevice
from edgekd.measure import measure
from edgekd.measure.results import read_rows, row
from tests.measure.bundles import MakeBundle, golden


class RecordingDevice(LocalDevice):
    """This machine, remembering which bundle each run of the runner was for."""

    def __init__(self) -> None:
        super().__init__("local:")
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        if argv[0] == self.python:
            self.ran.append(Path(argv[3]).name)
        return super().run(argv, timeout)


def test_candidates_are_interleaved_in_fresh_processes_and_alternating_order(bundle: MakeBundle) -> None:
    device = RecordingDevice()
    candidates = {"int8": (bundle("onnxruntime"), {}), "float": (bundle("onnxruntime", "float"), {})}
    results = measure(device, candidates, replicates=3, seconds=0.01, count=5)
    device.close()
    a, b = "onnxruntime-int8", "onnxruntime-float"
    assert device.ran == [a, b, b, a, a, b]
    processes = {replicate.start.pid for result in results.values() for replicate in result.replicates}
    assert len(processes) == 6
    assert all(len(result.samples) == 3 for result in results.values())
    assert results["int8"].latency.n == sum(map(len, results["int8"].samples))


def test_a_bundle_is_scored_with_the_options_that_it_is_timed_with(bundle: MakeBundle, tmp_path: Path) -> None:
    """The metric was once that of the manifest's own options."""
    folder, asked, python = bundle("onnxruntime"), tmp_path / "asked", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{asked}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    np.savez(tmp_path / "data.npz", x=golden(folder, "input:input"), y=np.zeros(16, np.int64))
    words = ["bench", str(folder), "--option=optimize=none", f"--data={tmp_path}/data.npz", "--replicates=1"]
    words += ["--seconds=0.01", f"--device=local:?python={python}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    for verb in ("bench", "predict"):
        (run,) = (line for line in asked.read_text().splitlines() if f" {verb} " in line)
        assert "--option=optimize=none" in run


def test_results_that_cannot_be_written_end_it_before_anything_is_measured(bundle: MakeBundle) -> None:
    words = ["bench", str(bundle("onnxruntime")), "--device=local:?python=/no/python", "--out=/dev/null/results.jsonl"]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stderr) == (2, "error: /dev/null: File exists\n")


def test_the_error_of_one_of_several_devices_names_it_once(bundle: MakeBundle) -> None:
    lost = "local:?python=/no/python"
    words = ["bench", str(bundle("onnxruntime")), "--device=local:", f"--device={lost}"]
    result = CliRunner().invoke(app, [*words, "--replicates=1", "--seconds=0.01", "--count=5"])
    assert (result.exit_code, result.stderr.count(lost)) == (3, 1)


@pytest.mark.parametrize("option", ["--seconds=inf", "--seconds=nan", "--seconds=1e7", "--threads=5000000000"])
def test_more_than_any_device_could_do_is_bad_input(option: str) -> None:
    result = CliRunner().invoke(app, ["bench", "bundle", option])
    assert result.exit_code == 2
    assert f"Invalid value for '{option.partition('=')[0]}'" in result.stderr


def test_a_bundle_against_itself_is_refused(bundle: MakeBundle) -> None:
    """It had one row, as if nothing had been asked for."""
    folder = str(bundle("onnxruntime"))
    result = CliRunner().invoke(app, ["bench", folder, "--against", folder])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "named twice" in result.stderr


def test_what_does_not_resume_does_not_say_so(bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalDevice, "run", interrupt)
    result = CliRunner().invoke(app, ["bench", str(bundle("onnxruntime"))])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")


def test_offline_tells_throughput_on_chosen_cores(bundle: MakeBundle) -> None:
    device = LocalDevice("local:")
    core = str(max(os.sched_getaffinity(0)))
    candidates = {"a": (bundle("onnxruntime"), {})}
    measured = measure(
        device, candidates, replicates=2, seconds=0.02, count=5, batch=4, affinity=core, scenario="offline"
    )["a"]
    device.close()
    timing = measured.replicates[0].timing
    assert (timing.scenario, timing.affinity, timing.threads) == ("offline", (int(core),), 1)
    # one batch after the other, so that the flow is as fast as its mean batch
    assert measured.latency.throughput == pytest.approx(4000 / np.mean(np.concatenate(measured.samples)))


def test_the_command_measures_a_scenario_on_cores(bundle: MakeBundle, tmp_path: Path) -> None:
    core, out = max(os.sched_getaffinity(0)), tmp_path / "results.jsonl"
    words = ["bench", str(bundle("onnxruntime")), "--replicates=1", "--seconds=0.01", "--count=5", "--json"]
    asked = [*words, "--scenario=offline", f"--affinity={core}", "--batch=4", f"--out={out}"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    (shown,), (row,) = json.loads(result.stdout), read_rows(out)
    assert (shown["scenario"], shown["affinity"], shown["threads"]) == ("offline", [core], 1)
    assert (row.scenario, row.affinity, row.batch, row.precision) == ("offline", (core,), 4, "f32")
    for wrong, told in {
        "--affinity=4000": "error: no core 4000 here: choose others by --affinity",
        "--affinity=4-": "error: --affinity: '4-' names no cores: 4-7 or 0,2 would",
        "--strict": "error: --strict holds MLPerf Mobile's rules for single-stream: leave out --scenario",
    }.items():
        result = CliRunner().invoke(app, [*words, "--scenario=offline", wrong])
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert result.stderr.startswith(told)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system in memory")
def test_a_load_from_memory_is_not_called_cold(bundle: MakeBundle) -> None:
    device = LocalDevice("local:")
    with TemporaryDirectory(dir="/dev/shm") as memory:
        folder = Path(shutil.copytree(bundle("onnxruntime"), f"{memory}/bundle"))
        found = measure(device, {"a": (folder, {})}, replicates=1, seconds=0.01, count=5)["a"]
        written = row(load_bundle(folder), "int8", found)
    device.close()
    assert written.missing == {"cold_load": "the page cache could not be emptied: the first load is from memory"}


def test_the_same_bundle_under_two_options_is_two_candidates(bundle: MakeBundle) -> None:
    device = LocalDevice("local:")
    folder = bundle("openvino", "float")
    candidates = {"f32": (folder, {}), "free": (folder, {"precision": "default"})}
    measured = measure(device, candidates, replicates=2, seconds=0.01, count=5, batch=2)
    results = {label: measurement.latency for label, measurement in measured.items()}
    device.close()
    for latency in results.values():
        assert 0 < latency.low <= latency.high
        assert latency.p50 <= latency.p90 <= latency.p99
        assert latency.replicates == 2
        assert latency.throughput > 0
        assert latency.load_ms > 0
        assert latency.warm_load_ms is not None
        assert latency.model_rss_mb is not None
        assert latency.peak_rss_mb is not None
        assert latency.warm_load_ms > 0
        assert latency.model_rss_mb < latency.peak_rss_mb
