"""A real process, really killed, ends with the weights of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from edgekd.training.checkpoint import load_checkpoint
from edgekd.training.weights import read_tensors

SCRIPT = Path(__file__).with_name("killed_run.py")
STEPS = 24


def start(folder, pause=0.0):
    command = [sys.executable, str(SCRIPT), str(folder), str(pause)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(folder):
    process = start(folder)
    assert process.wait(120) == 0, process.stderr.read()


def stop_after(folder, step, number):
    """Start the run, send it a signal once it has passed `step`, and return its exit status."""
    process = start(folder, pause=0.1)
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


def test_killed_then_interrupted_it_ends_with_the_weights_of_an_unbroken_run(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    finish(unbroken)
    status, said = stop_after(broken, 3, signal.SIGKILL)  # within the first epoch
    assert status == -signal.SIGKILL, said
    assert 3 <= reached(broken) < STEPS
    status, said = stop_after(broken, 9, signal.SIGINT)
    assert status != 0
    assert "KeyboardInterrupt" in said
    position, _ = load_checkpoint(broken, "k")
    assert 9 <= position.step < STEPS
    finish(broken)
    for name in ("best.safetensors", f"checkpoint.{STEPS}.safetensors"):
        ours, theirs = read_tensors(broken / name), read_tensors(unbroken / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), key  # bit-equal: no tolerance
    assert (broken / "history.json").read_text() == (unbroken / "history.json").read_text()
