"""A run that is killed again and again ends with the numbers of one that was left alone.

Real processes and signals, in the middle of what takes long; `test_strikes` kills between any two file operations.
"""

import json
import signal
import time

import pytest

from edgekd.bundle import load_bundle
from edgekd.files import sha256
from edgekd.measure.results import read_rows
from edgekd.pipeline.run import alone
from tests.small_run import complaint, edgekd, finish, start

TARGETS = ("x86-openvino", "x86-onnxruntime")  # of one scheme: a run of half the time
ONLY = (f"--set=targets={list(TARGETS)}", "--set=devices={ x86-openvino = 'local:', x86-onnxruntime = 'local:' }")
# Where each process is stopped: (the last words in events.jsonl, the signal).
MOMENTS = (
    ({"event": "epoch", "stage": "teacher", "epoch": 1}, signal.SIGKILL),
    ({"event": "epoch", "stage": "student", "epoch": 3}, signal.SIGINT),
    ({"event": "epoch", "stage": "int8-asymmetric", "epoch": 1}, signal.SIGKILL),
    ({"event": "stage", "name": "parity-x86-openvino"}, signal.SIGINT),
)


@pytest.mark.long
def test_stopped_again_and_again_it_ends_with_the_numbers_of_an_unbroken_run(small_run, tmp_path):
    broken = tmp_path / "run"
    for moment, number in MOMENTS:
        process = start("run", small_run.recipe, "--out", broken, *ONLY, env={"TMPDIR": str(tmp_path)})
        stop(process, broken, moment, number)
    with (broken / "results.jsonl").open("a") as stream:
        stream.write('{"format": 1, "tim')  # as if the last kill had come while a row was written
    assert edgekd("run", small_run.recipe, "--out", broken, *ONLY).exit_code == 0
    assert graphs(broken) == graphs(small_run.folder)  # bit-equal: no tolerance
    assert models(broken) == models(small_run.folder)
    assert not list(broken.rglob(".*.*"))  # nothing half-written is left
    assert metrics(json.loads((broken / "run.json").read_text())) == metrics(small_run.run)
    unbroken = read_rows(small_run.folder / "results.jsonl")
    assert {row.key for row in read_rows(broken / "results.jsonl")} == {
        row.key for row in unbroken if row.target in TARGETS
    }


def test_a_second_run_in_the_same_folder_is_refused(small_run, tmp_path):
    with alone(tmp_path, fresh=False):
        for options in ((), ("--fresh",)):
            second = edgekd("run", small_run.recipe, "--out", tmp_path, *options)
            assert "another run is at work" in complaint(second, 2)


def stop(process, folder, moment, number):
    """Send the signal once the run has said what is meant to be its last word."""
    events = folder / "events.jsonl"
    wait_for(process, folder, moment, events.stat().st_size if events.exists() else 0)
    process.send_signal(number)
    ended = finish(process)
    if number == signal.SIGINT:
        assert complaint(ended, 130) == "interrupted; the same command resumes"
    else:
        assert ended.returncode == -number


def wait_for(process, folder, moment, start, seconds=240):
    deadline, path = time.monotonic() + seconds, folder / "events.jsonl"
    while not any(moment.items() <= event.items() for event in said(path, start)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(path, start):
    if not path.exists():
        return []
    whole = path.read_bytes()[start:].rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def graphs(folder):
    return {name: sha256(folder / "onnx" / f"{name}.onnx") for name in ("float", "int8-asymmetric")}


def models(folder):
    found = [path for path in sorted((folder / "bundles").iterdir()) if path.name.startswith(TARGETS)]
    manifests = {path.name: load_bundle(path) for path in found}
    return {name: manifest.model_files for name, manifest in manifests.items()}


def metrics(run):
    learned = {name: run[name]["metric"] for name in ("teacher", "student_scratch", "student")}
    targets = {
        name: (target["status"], target["metric"], {k: row["metric"] for k, row in target["variants"].items()})
        for name, target in run["targets"].items()
        if name in TARGETS
    }
    parity = {name: run["targets"][name]["parity"] for name in TARGETS}
    return learned, run["distillation"], run["quantized"]["int8-asymmetric"], targets, parity
