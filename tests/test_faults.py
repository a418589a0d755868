"""Bad input and faults, as a user meets them: one clear line, the agreed exit code, and what was done is kept."""

import json
import os
import shutil
import textwrap
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekd import KD, Training, api
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.files import read_sealed, sha256, write_sealed
from edgekd.pipeline.dry_run import dry_run
from edgekd.training.weights import read_tensors
from tests.devices.test_web import need
from tests.measure.bundles import rehash
from tests.small_run import complaint, edgekd, finish, start, write_recipe

OWN = """
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.distillation._base import Context

class Branch(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stages = nn.Sequential(*(nn.Conv2d(1 if i == 0 else 4, 4, 3) for i in range(3)))
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        x = self.stages(x).mean((2, 3))
        return self.head(x if x.sum() > 0 else -x)

def broken(classes):
    return nn.Linear(classes, 1 // 0)

def second_seed_is_broken(classes):
    if torch.initial_seed() == 1:
        raise RuntimeError("out of luck\\nand words")
    return flat(classes)

def flat(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(144, outputs))

def three():
    return flat(3)

def five():
    return flat(5)

def deaf(classes):
    return nn.Linear(7, classes)

@dataclass(frozen=True)
class Difference:
    layers: str
    weight: float = 1.0

    @property
    def student_taps(self):
        return (self.layers,)

    teacher_taps = student_taps

    def __call__(self, student, teacher, context: Context):
        return (student.features[self.layers] - teacher.features[self.layers]).square().mean()
"""


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)[0]


@pytest.fixture
def copied(small_run, tmp_path):
    """A finished run of one's own."""
    return shutil.copytree(small_run.folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stuent.model=resnet", "unknown key 'stuent'; did you mean 'student'?"),
        ("student.training.epoch=3", "unknown key 'student.training.epoch'; did you mean 'epochs'?"),
        ("seeds=0", "seeds: Input should be greater than 0"),
        ("seeds", "expected key=value"),
        ("student.model=resnt", "unknown model 'resnt'; did you mean 'resnet'?"),
        ("student.options.widht=4", "unknown option 'widht'; did you mean 'width'?"),
        ("student.model=nowhere:build", "no module named 'nowhere'"),
        ("distillation.0.method=kdd", "unknown distillation method 'kdd'; did you mean 'kd'?"),
        ("student={ model = 'flows:Branch' }", "flows.py"),
        ("distillation.1.layers={ 'stages.9' = 'stages.2' }", "stages.9"),
        ("distillation.0.temperature=0", "method 'kd': temperature: Input should be greater than 0"),
        ("distillation.1.layers={ 'stages.2' = 'head' }", "student layer 'stages.2' and teacher layer 'head': "),
        ("targets=['x86-tflit']", "x86-tflit"),
        ("devices.x86-tflite=locl:", "unknown device 'locl:'; did you mean 'local:'?"),
        ("data.name=npzz", "unknown data set 'npzz'; did you mean 'npz'?"),
        ("data.path=nowhere.npz", "nowhere.npz: no such file"),
        ("data.augmentation=['crp']", "did you mean 'crop'?"),
        ("teacher.checkpoint=nowhere.safetensors", "nowhere.safetensors: no such file"),
        ("length=8", "length is for sequences of tokens; inputs are uint8 (1, 12, 12)"),
    ],
)
def test_a_recipe_that_cannot_be_followed_says_which_key(recipe, tmp_path, monkeypatch, setting, words):
    (tmp_path / "flows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    refused = edgekd("run", recipe, "--out", tmp_path / "run", "--set", setting)
    assert words in complaint(refused, 2)
    assert not (tmp_path / "run" / "teacher").exists()  # nothing was taught in vain


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("student={ model = 'flows:Branch' }", "distillation=[{ method = 'kd' }]"), "flows.py"),
        (
            ("task={ name = 'regression' }", "distillation=[{ method = 'mse' }]", "student.training.label_smoothing=1"),
            "label_smoothing: Regression has no classes to smooth",
        ),
    ],
)
def test_nothing_is_taught_in_vain_without_targets(recipe, tmp_path, monkeypatch, settings, words):
    (tmp_path / "flows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    given = [f"--set={setting}" for setting in (*settings, "targets=[]", "devices={}")]
    assert words in complaint(edgekd("run", recipe, "--out", tmp_path / "run", *given), 2)
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.parametrize(
    ("role", "model", "words"),
    [
        ("student", "flows:broken", "'flows:broken': ZeroDivisionError: integer division or modulo by zero (flows.py"),
        ("student", "unfinished:network", "'unfinished:network': SyntaxError: "),
        ("student", "hasty:network", "'hasty:network': KeyError: 'layers' (hasty.py, line 1)"),
        ("student", "flows:deaf", "the student cannot take inputs (2, 1, 12, 12): RuntimeError: mat1 and mat2 shapes"),
        ("teacher", "flows:three", "the teacher puts out 3 values per sample, but labels go up to 3: there are 4"),
        ("teacher", "flows:five", "the student puts out 4 values per sample, the teacher 5: both must know the same"),
    ],
)
def test_a_users_network_that_fails_or_does_not_fit(recipe, tmp_path, monkeypatch, role, model, words):
    (tmp_path / "flows.py").write_text(OWN)
    (tmp_path / "unfinished.py").write_text("def network(:\n")
    (tmp_path / "hasty.py").write_text("network = {}['layers']\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = (f"--set={role}={{ model = '{model}' }}", "--set=distillation=[{ method = 'kd' }]")
    assert words in complaint(edgekd("run", recipe, "--out", tmp_path / "run", *settings), 2)


def test_features_that_do_not_fit_are_named_with_both_shapes(recipe, tmp_path, monkeypatch):
    (tmp_path / "flows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    method = "--set=distillation=[{ method = 'flows:Difference', layers = 'stages.2' }]"
    message = complaint(edgekd("run", recipe, "--out", tmp_path / "run", method), 2)
    assert "student 'stages.2' (2, 16, 3, 3), teacher 'stages.2' (2, 32, 3, 3); a hint's regressor" in message


def test_a_script_is_told_the_same():
    random = np.random.default_rng(0)
    data = [(random.normal(size=(40, 3)), np.arange(40) % 4) for _ in range(2)]
    one_epoch = Training(epochs=1)

    def distill(teacher, student, *losses):
        api.distill(nn.Linear(3, teacher), nn.Linear(3, student), data, losses or (KD(),), training=one_epoch)

    distill(4, 4)
    with pytest.raises(BadInputError, match="'KD': temperature: Input should be greater than 0"):
        distill(4, 4, KD(temperature=0))
    with pytest.raises(BadInputError, match="the teacher 5: both must know the same classes"):
        distill(5, 4)
    with pytest.raises(BadInputError, match="the student puts out 3 values per sample, but labels go up to 3"):
        distill(4, 3)
    with pytest.raises(PromiseBrokenError, match="the term spoiled is nan"):
        distill(4, 4, Spoiled())


@dataclass(frozen=True)
class Spoiled:
    """A loss that is no number."""

    weight: float = 1.0
    student_taps: ClassVar = ()
    teacher_taps: ClassVar = ()

    def __call__(self, student, teacher, context):
        return student.logits.mean() * float("nan")


def test_a_seed_that_fails_is_named(recipe, tmp_path, monkeypatch):
    (tmp_path / "flows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    settings = (
        "student={ model = 'flows:second_seed_is_broken', training = { epochs = 1 } }", "seeds=2", "targets=[]",
        "teacher.training.epochs=0", "distillation=[{ method = 'kd' }]", "devices={}",
    )  # fmt: skip
    refused = edgekd("run", recipe, "--out", tmp_path / "run", *(f"--set={setting}" for setting in settings))
    failure = "error: seed 1: model 'flows:second_seed_is_broken': RuntimeError: out of luck (flows.py, line "
    assert complaint(refused, 2).startswith(failure)
    assert (tmp_path / "run" / "student" / "best.safetensors").is_file()  # the first seed's


def test_a_recipe_that_is_not_there(tmp_path):
    assert "no such file" in complaint(edgekd("run", tmp_path / "nowhere.toml"), 2)
    assert "did you mean 'quickstart'" in complaint(edgekd("run", "quikstart"), 2)


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    refused = edgekd("run", "fashion-mnist", "--out", tmp_path / "run", "--set", f"data.path={tmp_path}")
    assert "apt-get install dataset-fashion-mnist" in complaint(refused, 2)


def test_a_run_folder_that_is_a_file(recipe, tmp_path):
    (tmp_path / "run").write_text("")
    assert str(tmp_path / "run") in complaint(edgekd("run", recipe, "--out", tmp_path / "run"), 2)
    for out in (tmp_path / "run", tmp_path / "run" / "below"):  # without data, so that little is tried
        found = dry_run(str(recipe), ["data.path=nowhere.npz"], out)
        assert {"part": "out", "fault": f"{tmp_path / 'run'} is a file, not a folder"} in found["faults"]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_is_to_be_reused_is_there_and_not_deleted_first(recipe, tmp_path, dry):
    record = tmp_path / "run" / "stages" / "teacher.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    command = ("run", recipe, "--out", tmp_path / "run", "--set", "data.path=nowhere.npz", *dry)
    for asked, told in (
        (("--fresh", "--reuse", "teacher"), "--fresh deletes what --reuse keeps: give one of them"),
        (("--reuse", "teachr"), "holds no result of such a stage; did you mean 'teacher'?"),
    ):
        refused = edgekd(*command, *asked)
        assert refused.exit_code == 2
        assert told in " ".join((refused.stderr + refused.stdout).split())
        assert record.exists()


@pytest.mark.parametrize(("key", "most"), [("threads", 1024), ("seeds", 1000)])
def test_more_than_a_machine_could_do_is_refused(recipe, key, most):
    refused = edgekd("run", recipe, "--set", f"{key}={2**40}")
    assert f"{key}: Input should be less than or equal to {most}" in complaint(refused, 2)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no zip"])
def test_corrupt_data(recipe, tmp_path, damage):
    data = tmp_path / "tiny.npz"
    data.write_bytes(damage(data.read_bytes()))
    assert "tiny.npz: not a readable npz file" in complaint(edgekd("run", recipe, "--out", tmp_path / "run"), 2)


def test_a_corrupt_checkpoint_is_named(small_run, tmp_path):
    given = tmp_path / "teacher.safetensors"
    given.write_bytes(b"\0" * 64)
    refused = edgekd("run", small_run.recipe, "--out", tmp_path / "other", "--set", f"teacher.checkpoint={given}")
    assert str(given) in complaint(refused, 2)
    torch.save({"model": {"net.stem.weight": torch.zeros(1)}}, given)
    refused = edgekd("run", small_run.recipe, "--out", tmp_path / "other", "--set", f"control={given}")
    assert "in 'model': no weights for" in complaint(refused, 2)
    assert not (tmp_path / "other" / "teacher").exists()  # said before a teacher is trained


def test_a_tampered_bundle_is_not_run(small_run, tmp_path):
    bundle = shutil.copytree(small_run.bundle("x86-onnxruntime"), tmp_path / "bundle")
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    for command in ("verify", "bench"):
        assert "model.onnx does not match its sha256" in complaint(edgekd(command, bundle), 2)


def test_a_training_that_diverges_says_where(recipe, tmp_path):
    refused = edgekd("run", recipe, "--out", tmp_path / "run", "--set", "teacher.training.learning_rate=1e30")
    message = complaint(refused, 1)
    assert "training diverged in epoch 1, step " in message
    assert "there is no checkpoint yet" in message


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(recipe, tmp_path, monkeypatch):
    source = """
        import torch

        class Fragile(torch.nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.layer = torch.nn.Linear(144, classes)
                self.register_buffer("steps", torch.zeros(()))

            def forward(self, x):
                self.steps += self.training
                return self.layer(x.flatten(1)) / (self.steps <= 25)
    """
    (tmp_path / "fragile.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    settings = ("teacher.model=fragile:Fragile", "teacher.options={}", "distillation=[{ method = 'kd' }]")
    refused = edgekd("run", recipe, "--out", tmp_path / "run", *(f"--set={setting}" for setting in settings))
    checkpoint = tmp_path / "run" / "teacher" / "checkpoint.json"
    message = complaint(refused, 1).replace("is inf", "is nan")
    assert "training diverged in epoch 2, step 25: the term cross_entropy is nan; " in message
    assert f"the last good checkpoint is {checkpoint}" in message
    kept = json.loads(checkpoint.read_text())
    assert kept["position"]["step"] == 20  # 640 samples in batches of 32: the end of epoch 1
    tensors = read_tensors(checkpoint.with_name(kept["tensors"]), kept["tensors_sha256"])
    assert all(bool(value.isfinite().all()) for value in tensors.values())


@pytest.mark.long
def test_a_missing_sdk_leaves_its_target_unproven_and_no_other(small_run, copied, tmp_path):
    hidden = tmp_path / "hidden" / "openvino"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')\n")
    settings = (
        "targets=['x86-openvino', 'x86-onnxruntime']",
        "devices={x86-openvino='local:', x86-onnxruntime='local:'}",
    )
    command = ("run", small_run.recipe, "--out", copied, "--json", *(f"--set={setting}" for setting in settings))
    done = finish(start(*command, env={"PYTHONPATH": _first(hidden.parent)}))
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("not proven: x86-openvino: ")
    targets = json.loads(done.stdout)["targets"]
    assert {name: target["status"] for name, target in targets.items()} == {
        "x86-openvino": "skipped",
        "x86-onnxruntime": "ok",
    }
    assert "pip install 'edgekd[openvino]'" in targets["x86-openvino"]["reason"]
    assert not (copied / "finished.json").exists()  # it may be installed by the next time
    strict = finish(start(*command, "--strict", env={"PYTHONPATH": _first(hidden.parent)}))
    assert strict.returncode == 1
    assert "pip install 'edgekd[openvino]'" in strict.stderr
    unasked = (*command, "--set=devices={x86-onnxruntime='local:'}")  # another recipe: all of it is measured again
    assert finish(start(*unasked, env={"PYTHONPATH": _first(hidden.parent)})).returncode == 0
    exported = start(
        "export", small_run.folder / "onnx/int8-asymmetric.onnx", "--target=x86-openvino", "--out", tmp_path / "out",
        env={"PYTHONPATH": _first(hidden.parent)},
    )  # fmt: skip
    assert "pip install 'edgekd[openvino]'" in complaint(finish(exported), 3)


@pytest.mark.long
@pytest.mark.browser
def test_a_browser_is_a_device_of_a_run(small_run, copied):
    need("chromium")
    settings = ("targets=['web-onnxruntime']", "devices={web-onnxruntime='web:headless'}")
    done = edgekd("run", small_run.recipe, "--out", copied, "--json", *(f"--set={setting}" for setting in settings))
    assert done.exit_code == 0, done.stderr
    target = json.loads(done.stdout)["targets"]["web-onnxruntime"]
    assert (target["status"], target["metric_source"]) == ("ok", "device")
    assert all(row["ok"] for row in target["parity"])
    assert all(variant["latency_ms"]["p50"] > 0 for variant in target["variants"].values())


@pytest.mark.long
def test_a_run_does_without_an_optional_target_whose_runtime_is_not_here(small_run, copied, tmp_path, monkeypatch):
    browser = tmp_path / "chromium"  # it is never started: what it would run is not here
    browser.write_text("#!/bin/sh\nexit 1\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", _first(browser.parent, "PATH"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = (
        "targets=['web-onnxruntime', 'x86-onnxruntime']",
        "devices={web-onnxruntime='web:chromium', x86-onnxruntime='local:'}",
    )
    command = ("run", small_run.recipe, "--out", copied, *(f"--set={setting}" for setting in settings))
    spared = edgekd(*command, "--set=optional=['web-onnxruntime']", "--json")
    assert spared.exit_code == 0, spared.stderr
    target = json.loads(spared.stdout)["targets"]["web-onnxruntime"]
    assert (target["status"], target["device"]) == ("skipped", None)
    assert target["reason"].endswith("are not here: edgekd web install")
    assert not (copied / "finished.json").exists()
    wanted = edgekd(*command)
    assert wanted.exit_code == 4
    assert wanted.stderr.splitlines()[-1].startswith("not proven: web-onnxruntime: ")


def _first(folder, variable="PYTHONPATH"):
    return os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


def test_a_bundle_that_computes_something_else_fails_the_run(small_run, copied):
    """The bundle vouches for itself, and so does the stage that made it: only parity can tell."""
    bundle, stage = copied / "bundles" / "x86-onnxruntime", copied / "stages" / "bundle-x86-onnxruntime-int8.json"
    shutil.copy(small_run.folder / "onnx" / "float.onnx", bundle / "model.onnx")
    _disturb(bundle / "model.onnx")
    rehash(bundle)
    record = read_sealed(stage)
    record["files"] |= {name: sha256(copied / name) for name in record["files"]}
    write_sealed(stage, record)
    broken = edgekd("run", small_run.recipe, "--out", copied)
    assert broken.exit_code == 1
    assert "error: x86-onnxruntime: parity does not hold: logits at batch 1" in broken.stderr
    run = json.loads((copied / "run.json").read_text())
    assert run["targets"]["x86-onnxruntime"]["status"] == "fallback"
    assert run["targets"]["x86-tflite"]["status"] == "ok"
    assert "parity" in (copied / "report.html").read_text()
    assert not bundle.exists()
    assert (copied / "bundles" / "x86-onnxruntime-float").is_dir()
    assert edgekd("run", small_run.recipe, "--out", copied).exit_code == 0  # another one takes its place


def _disturb(path):
    model = onnx.load(path)
    bias = next(c for c in model.graph.initializer if len(c.dims) == 1)
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1), bias.name))
    onnx.save(model, path)


def test_unknown_devices_and_options(small_run):
    bundle = small_run.bundle("x86-onnxruntime")
    assert "unknown device 'usb:'" in complaint(edgekd("verify", bundle, "--device", "usb:"), 2)
    assert "expected key=value" in complaint(edgekd("bench", bundle, "--option", "fast"), 2)
    assert "fastr" in complaint(edgekd("bench", bundle, "--option", "fastr=1"), 2)
    assert "not a bundle" in complaint(edgekd("verify", small_run.folder), 2)


def test_an_unknown_option_shows_the_usage():
    refused = edgekd("run", "quickstart", "--sets", "a=b")
    assert refused.exit_code == 2
    assert "--set" in refused.stderr


def test_a_traceback_is_shown_only_on_demand(tmp_path):
    path = tmp_path / "nowhere.toml"
    quiet = finish(start("run", path))
    assert complaint(quiet, 2) == f"error: {path}: no such file · next: edgekd init {path}"
    assert len(quiet.stderr.splitlines()) == 1
    loud = finish(start("--debug", "run", tmp_path / "nowhere.toml"))
    assert loud.returncode == 2
    assert "Traceback" in loud.stderr


def test_lines_are_not_broken_to_fit_a_terminal_that_is_not_there(tmp_path):
    path = tmp_path / ("a-rather-long-name-" * 8) / "recipe.toml"
    written = f"{path} and {path.with_name('mine.py')}"
    assert edgekd("init", path).stdout == f"wrote {written}; next: edgekd run {path} --dry-run\n"
    assert str(path) in complaint(edgekd("init", path), 2)
