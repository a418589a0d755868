"""A real process, really killed, ends with the weights of one that was left alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from edgekd.training import loop
from edgekd.training.checkpoint import load_checkpoint
from edgekd.training.weights import read_tensors
from tests.training import killed_run

SCRIPT = Path(killed_run.__file__)
STEPS = 24


def stop_after(folder, step, number):
    """Start the run, send it a signal once it has passed `step`, and return its exit status."""
    command = [sys.executable, str(SCRIPT), str(folder), "0.1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while reached(folder) < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.003)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def reached(folder):
    path = folder / "checkpoint.json"
    return json.loads(path.read_text())["position"]["step"] if path.is_file() else 0


def test_killed_then_interrupted_it_ends_with_the_weights_of_an_unbroken_run(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", loop.CHECKPOINT_SECONDS)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    killed_run.main(unbroken)
    status, said = stop_after(broken, 3, signal.SIGKILL)  # within the first epoch
    assert status == -signal.SIGKILL, said
    assert 3 <= reached(broken) < STEPS
    status, said = stop_after(broken, 9, signal.SIGINT)
    assert status != 0
    assert "KeyboardInterrupt" in said
    position, _ = load_checkpoint(broken, "k")
    assert 9 <= position.step < STEPS
    killed_run.main(broken)
    for name in ("best.safetensors", f"checkpoint.{STEPS}.safetensors"):
        ours, theirs = read_tensors(broken / name), read_tensors(unbroken / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), key  # bit-equal: no tolerance
    assert (broken / "history.json").read_text() == (unbroken / "history.json").read_text()
