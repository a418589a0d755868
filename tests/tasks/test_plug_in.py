"""A task and a metric of the user's own, in a file beside the recipe: nothing else is edited."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgekd.user_code import look_in
from tests.small_run import complaint
from tests.small_run import edgekd as edgekd_cli
from tests.tasks.nets import squares

OWN = '''
from dataclasses import dataclass

import numpy as np

from torch import nn

from edgekd.metrics import Metric
from edgekd.tasks import Task


def net(classes, width):
    pooled = nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return Named(*pooled, nn.Linear(width, classes))


class Named(nn.Sequential):
    def forward(self, x):
        return {"bright": super().forward(x), "input": x}


def far(outputs, labels):
    """The largest error of all."""
    return np.abs(outputs["bright"][:, 0] - labels).max()


void = Metric("void", lambda outputs, labels: np.ones((len(labels), 1)), lambda rows: 1 / 0)


@dataclass(frozen=True)
class Brightness(Task):
    """How bright an image is; errors count from `free` on."""

    free: float = 0.0
    reads = "bright"
    outputs = "outputs are (N, 1)"

    @property
    def metrics(self):
        count = lambda outputs, labels: np.maximum(np.abs(outputs - labels[:, None]) - self.free, 0)
        return (Metric("miss", count, lambda rows: float(rows.mean()), better="lower", unit="lx"),)

    def check(self, labels, where, width=None, *, unlabelled=False):
        return labels.astype(np.float32)

    def fits(self, outputs, labels):
        return tuple(outputs) == (len(labels), 1)

    def loss(self, outputs, labels):
        return {"miss": (outputs[:, 0] - labels).abs().mean()}

    def decide(self, outputs):
        return outputs[:, 0]

    def constant(self, labels):
        return np.median(labels)[None]

    def width(self, labels, names):
        return 1
'''
RECIPE = """\
targets = ["x86-onnxruntime"]
task    = { name = "brightness_task:Brightness", options = { free = 0.01 } }

[data]
name = "npz"
path = "DATA"

[teacher]
model    = "brightness_task:net"
options  = { width = 8 }
training = { epochs = 10, batch = 32, optimizer = "adamw", learning_rate = 0.05, precision = "float32" }

[student]
model    = "brightness_task:net"
options  = { width = 4 }
training = { epochs = 10, batch = 32, optimizer = "adamw", learning_rate = 0.05, precision = "float32" }

[[distillation]]
method = "mse"

[quantization]
epochs      = 0
calibration = 64

[benchmark]
replicates = 1
seconds    = 0.01
count      = 3

[devices]
x86-onnxruntime = "local:"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("brightness")
    arrays = {}
    for seed, (part, count) in enumerate((("train", 192), ("test", 64))):
        images, _ = squares(count, seed)
        arrays |= {f"x_{part}": images, f"y_{part}": images.mean(axis=(1, 2, 3)) / 10 - 5}
    np.savez(path / "data.npz", **arrays)
    (path / "recipe.toml").write_text(RECIPE.replace("DATA", str(path / "data.npz")))
    (path / "brightness_task.py").write_text(OWN)
    look_in(path)
    return path


def test_a_recipe_names_its_own_task(folder: Path) -> None:
    done = edgekd_cli("run", folder / "recipe.toml", "--out", folder / "run")
    # whether int8 of a network this small is near enough is another matter
    assert done.exit_code in (0, 1), done.stderr
    run = json.loads((folder / "run" / "run.json").read_text())
    assert run["metric_scale"] == {"name": "miss", "better": "lower", "unit": "lx"}
    taught, chance = run["student"]["metric"]["mean"], run["teacher"]["chance"]
    assert 0 < taught < chance
    terms = json.loads((folder / "run" / "student" / "history.json").read_text())[0]["terms"]
    assert terms.keys() == {"miss", "mse"}
    assert " lx" in done.stdout.replace("\u00a0", " ")
    report = (folder / "run" / "report.html").read_text()
    assert "lx" in report
    assert "points" not in re.sub(r"<[^>]*>", " ", report)  # but as an attribute of drawings
    manifest = json.loads((folder / "run" / "bundles" / "x86-onnxruntime" / "manifest.json").read_text())
    assert manifest["task"] == {"name": "brightness_task:Brightness", "options": {"free": 0.01}}
    assert manifest["metrics"].keys() == {"miss"}


def test_a_bundle_is_scored_by_a_metric_of_ones_own_but_never_by_code_that_it_names(folder: Path) -> None:
    bundle = folder / "run" / "bundles" / "x86-onnxruntime"
    if not bundle.is_dir():
        test_a_recipe_names_its_own_task(folder)
    words = "verify", bundle, "--data", folder / "data.npz", "--json"
    said = complaint(edgekd_cli(*words), 2)
    assert "taught brightness_task:Brightness, code that a bundle may not call; name its metric" in said
    done = edgekd_cli(*words, "--metric", "brightness_task:far")
    assert done.exit_code in (0, 4), done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["metric"] == {"name": "far", "better": "higher", "unit": ""}
    assert verdict["far"] > 0
    assert "unknown metric 'milou'; did you mean 'miou'?" in complaint(edgekd_cli(*words, "--metric", "milou"), 2)
    cannot = complaint(edgekd_cli(*words, "--metric", "miou"), 2)
    assert "metric 'miou' cannot score outputs (64, 1), labels (64,)" in cannot
    fails = complaint(edgekd_cli(*words, "--metric", "brightness_task:void"), 2)
    assert "your code fails: ZeroDivisionError: division by zero (brightness_task.py, line " in fails
    assert "brightness_task has no 'near'" in complaint(edgekd_cli(*words, "--metric", "brightness_task:near"), 2)
