"""A plug-in from outside: one of each kind of thing that edgekd finds by name, and no edit elsewhere."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends import find_backend
from edgekd.devices import open_device, transport_of
from edgekd.errors import BadInputError
from edgekd.plugins import modules, names, plugin_folders, summaries
from edgekd.runner_source import runner_source
from edgekd.runtimes import backend_names
from edgekd.target import load_target
from tests import factories
from tests.small_run import arrays, edgekd

FILES = {
    "backend/__init__.py": '"""A toy runtime."""',
    "backend/compile.py": """
from edgekd.backends.compiled import Compiled
from edgekd.backends.onnx_file import tensor_specs, write_onnx

def compile(model, target, folder, precision):
    write_onnx(model, folder / "model.toy")
    return Compiled("model.toy", ("model.toy",), *tensor_specs(model))
""",
    "backend/runtime.py": '''
"""ONNX Runtime without any optimisation, by the name of a toy."""

from __future__ import annotations

from typing import Any, ClassVar, Dict

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.runtime import Options, Runtime, counted, import_first

class Toy(Runtime):
    """The toy."""

    OPTIONS: ClassVar[Options] = {}
    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 2.0, "agreement": 0.99}
    version = "1"

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        module = import_first(["onnxruntime"], "the toy is not installed: pip install onnxruntime")
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = module.InferenceSession(bundle.model.read_bytes(), options)
        self.names = [spec["name"] for spec in bundle.inputs]

    def feed(self, arrays: Arrays) -> None:
        self.arrays = dict(zip(self.names, arrays))

    def step(self) -> None:
        self.outputs = self.session.run(None, self.arrays)

    def fetch(self) -> Arrays:
        return list(self.outputs)

    def operator_coverage(self) -> Dict[str, Any]:
        return counted({"Toy": 1}, 1, 1, "it has one")

RUNTIME = Toy
''',
    "backend/needs.py": """
from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="Toy", package="a toy", modules=("onnxruntime",), ways=(Way("{pip} install toy"),),
    components=(Component("toy-sdk", "no_such_toy", "toy bundles", get="pip install toy-sdk"),),
)
""",
    "transport.py": '''
"""This machine, played with."""

from edgekd.devices.local import LocalDevice

def open_device(uri):
    return LocalDevice(uri)
''',
    "targets/__init__.py": "",
    "targets/toy-board.toml": """
title   = "A toy"
backend = "toy"
scheme  = "int8-asymmetric"
prepare = ["wind it up"]
""",
    "method.py": '''
"""Toys teach by the squared difference."""

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional as F

@dataclass(frozen=True)
class ToyMethod:
    weight: float = 1.0
    student_taps: ClassVar[tuple[str, ...]] = ()
    teacher_taps: ClassVar[tuple[str, ...]] = ()

    def __call__(self, student, teacher, context):
        return F.mse_loss(student.logits, teacher.logits)
''',
    "task.py": '''
"""Classification, scored by the toy's metric."""

from dataclasses import dataclass

from edgekd.metrics import find_metric
from edgekd.tasks.classification import Classification

@dataclass(frozen=True)
class ToyTask(Classification):
    @property
    def metrics(self):
        return (find_metric("toy"),)
''',
    "source.py": '''
"""The toy's data: an npz."""

from pathlib import Path

from edgekd.data.npz import read_npz

def read(data):
    return read_npz(Path(data.path))
''',
    "models.py": '''
"""The toy's networks."""

from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.students.resnet import build as resnet

NETWORKS = {"narrow": 4, "wide": 8}

def check(name):
    if name not in NETWORKS:
        raise BadInputError(f"the toy has no {name!r}{nearest(name, NETWORKS)}")

def build(name, classes, input_shape, *, depth=8):
    return resnet(classes, input_shape[0], depth, NETWORKS[name])
''',
    "metric.py": '''
"""The toy's metric: how often a class is right."""

from edgekd.metrics import Metric
from edgekd.metrics._base import mean

def metric():
    return Metric("toys_right", lambda outputs, labels: (outputs.argmax(1) == labels)[:, None], mean)
''',
}
ENTRY_POINTS = """
[edgekd.backends]
toy = toys.backend
[edgekd.devices]
toy = toys.transport
[edgekd.targets]
toy-board = toys.targets
[edgekd.distillation]
toy = toys.method
kd = toys.method
[edgekd.data]
toy = toys.source
[edgekd.tasks]
toy = toys.task
[edgekd.metrics]
toy = toys.metric
[edgekd.model_libraries]
toy = toys.models
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plug-in as pip would leave it: a package and its dist-info, in a folder where packages are found."""
    site = tmp_path / "site"
    files = {f"toys/{name}": text for name, text in FILES.items()} | {"toys/__init__.py": ""}
    files |= {"toys-1.0.dist-info/entry_points.txt": ENTRY_POINTS}
    files |= {"toys-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n"}
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(site)
    for name in [name for name in sys.modules if name.partition(".")[0] == "toys"]:
        monkeypatch.delitem(sys.modules, name)
    return site


def documents(*arguments: Any) -> Any:
    done = edgekd(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_plugin_brings_is_found_by_its_name(toys: Path) -> None:
    assert entry_points(group="edgekd.backends").names == {"toy"}
    assert plugin_folders() == [toys / "toys"]  # what a finished run is remembered with
    assert "toy" in backend_names()
    assert find_backend("toy").__name__ == "toys.backend.compile"
    assert transport_of("toy:") == "toys.transport"
    assert load_target("toy-board").title == "A toy"
    assert summaries("edgekd.distillation")["toy"] == "Toys teach by the squared difference."
    assert {"toy", "accuracy"} <= set(names("edgekd.metrics"))
    with pytest.raises(BadInputError, match="unknown backend 'toi'; did you mean 'toy'"):
        find_backend("toi")


def test_a_plugin_takes_no_name_that_is_built_in(toys: Path) -> None:
    assert modules("edgekd.distillation")["kd"] == "edgekd.distillation.kd"


def test_what_cannot_leave_with_a_bundle_is_refused(toys: Path) -> None:
    (toys / "toys/backend/runtime.py").write_text('"""A toy."""\nimport os, toys.secret\nfrom edgekd.errors import E\n')
    runner_source.cache_clear()
    with pytest.raises(BadInputError, match="toys.backend.runtime imports toys.secret: only the standard library"):
        runner_source("toy")
    runner_source.cache_clear()


def test_a_plugin_goes_through_export_verify_bench_and_doctor(toys: Path, tmp_path: Path) -> None:
    runner_source.cache_clear()
    model = factories.float_resnet(width=4)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "samples.npz", input=factories.inputs_for(model, 128))
    done = edgekd(
        "export", tmp_path / "net.onnx", "--target", "toy-board", "--calibration", tmp_path / "samples.npz",
        "--out", tmp_path / "bundles", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    bundle = json.loads(done.stdout)["bundle"]
    assert "class Toy(Runtime)" in (Path(bundle) / "run.py").read_text()
    assert "numpy and a toy." in (Path(bundle) / "README.md").read_text()
    assert documents("verify", bundle, "--device", "toy:")["ok"]
    (row,) = documents("bench", bundle, "--device", "toy:", "--replicates", 1, "--seconds", 0.01, "--count", 5)
    assert row["runtime"] == "Toy 1"
    assert row["p50"] > 0
    rows = {row["component"]: row for row in documents("doctor")}
    assert rows["toy-sdk"]["get it"] == "pip install toy-sdk"
    found = documents("doctor", "--device", "toy:", "--target", "toy-board")
    assert found["ready"]
    assert found["prepare"] == ["wind it up"]
    assert documents("targets", "toy-board")["backend"] == "toy"


RECIPE = """\
targets = ["toy-board"]
task    = {{ name = "toy" }}

[data]
name = "toy"
path = "{data}"

[teacher]
model    = "resnet"
options  = {{ width = 8 }}
training = {{ epochs = 1, batch = 64, learning_rate = 0.05 }}

[student]
model    = "toy:narrow"
options  = {{ depth = 8 }}
training = {{ epochs = 2, batch = 32 }}

[[distillation]]
method = "toy"

[quantization]
epochs      = 0
calibration = 64

[benchmark]
replicates = 1
seconds    = 0.01
count      = 5

[devices]
toy-board = "toy:"
"""


def test_a_plugin_goes_through_a_whole_run_and_its_report(toys: Path, tmp_path: Path) -> None:
    runner_source.cache_clear()
    np.savez(tmp_path / "tiny.npz", **arrays())
    (tmp_path / "toy.toml").write_text(RECIPE.format(data=tmp_path / "tiny.npz"))
    done = edgekd("run", tmp_path / "toy.toml", "--out", tmp_path / "run", "--no-code")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert done.exit_code == 0, (done.stderr, run["targets"])
    assert (run["metric_name"], run["targets"]["toy-board"]["backend"]) == ("toys_right", "toy")
    assert run["targets"]["toy-board"]["status"] == "ok"
    assert edgekd("report", tmp_path / "run").exit_code == 0
    assert "toy-board" in (tmp_path / "run" / "report.html").read_text()


def test_the_device_of_a_plugin_runs_commands(toys: Path) -> None:
    device = open_device("toy:")
    assert device.run(["echo", "wound up"], 10).stdout == "wound up\n"
    device.close()
