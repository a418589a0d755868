"""A whole run in seconds: two small networks learn four easy patterns, for all four targets."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from edgekd.cli import app

EXECUTED = ("x86-tflite", "x86-openvino", "x86-onnxruntime")
RECIPE = """\
targets = ["x86-tflite", "x86-openvino", "x86-onnxruntime", "jetson-orin-nano"]

[data]
name         = "npz"
path         = "{data}"
augmentation = ["crop"]
views        = 2

[teacher]
model    = "resnet"
options  = {{ width = 8 }}
training = {{ epochs = 2, batch = 32, learning_rate = 0.05 }}

[student]
model    = "resnet"
options  = {{ width = 4 }}
training = {{ epochs = 8, batch = 32 }}

[[distillation]]
method = "kd"

[[distillation]]
method = "hint"
layers = {{ "stages.2" = "stages.2" }}

[quantization]
epochs        = 2
batch         = 64
learning_rate = 0.002
calibration   = 128

[benchmark]
replicates = 2
seconds    = 0.01
count      = 5

[devices]
x86-tflite      = "local:"
x86-openvino    = "local:"
x86-onnxruntime = "local:"
"""


@dataclass(frozen=True)
class SmallRun:
    """A finished run: its recipe, its data, its folder and what `--json` printed."""

    recipe: Path
    data: Path
    folder: Path
    printed: dict[str, Any]

    @property
    def run(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())

    def bundle(self, target: str) -> Path:
        return self.folder / "bundles" / target


def write_recipe(folder: Path) -> tuple[Path, Path]:
    """`tiny.toml` and the `tiny.npz` that it names."""
    data, recipe = folder / "tiny.npz", folder / "tiny.toml"
    np.savez(data, **arrays())
    recipe.write_text(RECIPE.format(data=data))
    return recipe, data


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Four 12x12 patterns of varying contrast under noise: learned in seconds, not at once."""
    patterns = np.random.default_rng(0).integers(0, 2, (4, 1, 4, 4)).repeat(3, 2).repeat(3, 3)
    found = {}
    for seed, (part, count) in enumerate({"train": 640, "val": 128, "test": 200}.items(), start=1):
        random, labels = np.random.default_rng(seed), np.arange(count) % 4
        values = patterns[labels] * random.uniform(60, 150, (count, 1, 1, 1)) + random.normal(
            60, 25, (count, 1, 12, 12)
        )
        found |= {f"x_{part}": np.clip(values, 0, 255).astype(np.uint8), f"y_{part}": labels}
    return found


def edgekd(*arguments: Any) -> Result:
    """The command line in this process: what it printed and how it ended; exports are timed where asked."""
    words = [str(argument) for argument in arguments]
    quick = ["--no-bench"] if words[:1] == ["export"] and "--bench" not in words else []
    return CliRunner().invoke(app, words + quick)


def start(*arguments: Any, folder: Path | None = None, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    argv = [sys.executable, "-m", "edgekd.cli", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str], seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Wait for it; a process that hangs fails the test."""
    stdout, stderr = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def complaint(result: Result | subprocess.CompletedProcess[str], code: int) -> str:
    """The last line on stderr of a command that ended with `code`, without a traceback and with nothing on stdout."""
    status = result.exit_code if isinstance(result, Result) else result.returncode
    if status == -signal.SIGINT:  # Python may end itself by the signal that it has handled; to a shell both are 130
        status = 130
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert status == code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return lines[-1]
