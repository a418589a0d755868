"""`edgekd run --dry-run`: every fault at once, and what a run would take; nothing is left behind."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edgekd.distillation import load_methods
from edgekd.errors import BadInputError
from edgekd.pipeline.dry_run import check_room, dry_run
from edgekd.pipeline.faults import Faults
from edgekd.pipeline.learn import generations_of
from edgekd.pipeline.plan import describe, load_data, load_targets, with_names
from edgekd.pipeline.price import Price, price_of
from edgekd.pipeline.recipe_faults import read_leniently
from edgekd.pipeline.run import run_recipe
from edgekd.pipeline.stopwatch import Span, Stopwatch
from edgekd.pipeline.trial import Trial
from edgekd.progress import SILENT
from edgekd.recipe import load_recipe
from edgekd.target import load_target, target_files
from tests.small_run import edgekd, write_recipe

ONE_TARGET = ("targets=['x86-onnxruntime']", "devices={ x86-onnxruntime = 'local:' }", "quantization.epochs=0")
PATIENT = 600.0  # seconds: no time limit decides here
WRONG = """\
targets = ["x86-tflite", "pixel-99"]
sede = 3

[data]
name = "npz"
path = "tiny.npz"
augmentation = ["crop", "spin"]

[teacher]
model = "resnett"
training = { epochs = -2 }

[student]
model = "resnet"
options = { widht = 4 }
training = { epochs = 2, learning_rat = 0.1 }

[[distillation]]
method = "kdd"

[[distillation]]
method = "hint"

[quantization]
epochs = 0
ranges = "lsq"

[devices]
x86-tflite = "foo:"
x86-openvino = "local:"
"""
FAULTS = (
    "unknown device 'foo:'",
    "teacher.training.epochs",
    "unknown key 'student.training.learning_rat'",
    "'lsq' learns ranges",
    "unknown key 'sede'",
    "'x86-openvino' is not one of the targets",
    "unknown target 'pixel-99'",
    "unknown augmentation 'spin'",
    "unknown model 'resnett'",
    "unknown option 'widht'",
    "unknown distillation method 'kdd'",
    "method 'hint': layers",
)


def faults_of(found):
    return {row["part"]: row["fault"] for row in found["faults"]}


def test_twelve_faults_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)
    (tmp_path / "wrong.toml").write_text(WRONG)
    done = edgekd("run", "wrong.toml", "--dry-run", "--json")
    assert done.exit_code == 2
    told = [row["fault"] for row in json.loads(done.stdout)["faults"]]
    assert len(told) == len(FAULTS)
    for fault in FAULTS:
        assert sum(fault in line for line in told) == 1, fault
    shown = edgekd("run", "wrong.toml", "--dry-run")
    assert shown.exit_code == 2
    assert shown.stdout.splitlines()[-1] == "12 faults in wrong.toml"


def test_an_empty_recipe_lacks_four_things(tmp_path):
    (tmp_path / "empty.toml").touch()
    done = edgekd("run", tmp_path / "empty.toml", "--dry-run", "--json")
    assert done.exit_code == 2
    told = [row["fault"] for row in json.loads(done.stdout)["faults"]]
    assert told == [f"missing key '{key}'" for key in ("data", "teacher", "student", "distillation")]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("targets=['x86-tflite', 'x86-tflite']", ["targets: a target is named twice"]),  # and devices name it
        ("targets=['x86-tflite', 3]", ["targets.1: Input should be a valid string"]),
        ("teacher.model=3", ["teacher.model: Input should be a valid string"]),
        ("distillation=[3]", ["distillation.0: Input should be an object"]),
    ],
)
def test_what_only_follows_from_a_fault_is_not_told(tmp_path, wrong, told):
    recipe, _ = write_recipe(tmp_path)
    faults = Faults(PATIENT)
    read_leniently(str(recipe), [wrong], faults)
    assert [row["fault"] for row in faults.faults] == told


def test_a_weight_that_is_neither_number_nor_ramp_keeps_nothing_from_being_tried(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    assert read_leniently(str(recipe), ["cross_entropy={ start = 'one' }"], Faults(PATIENT)) is not None


def left_in(folder):
    return {*folder.iterdir(), *Path(tempfile.gettempdir()).glob("edgekd-dry-run-*")}


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """A sound recipe, tried."""
    folder = tmp_path_factory.mktemp("dry")
    recipe, _ = write_recipe(folder)
    before = left_in(folder)
    found = dry_run(str(recipe), ONE_TARGET, folder / "run", seconds=PATIENT)
    assert left_in(folder) == before
    return found


def test_a_sound_recipe_goes_through_every_part(tried):
    assert tried["faults"] == tried["warnings"] == []
    parts = {row["part"]: row["found"] for row in tried["checked"]}
    assert parts["data"] == "640 train, 128 val, 200 test; 4 classes; inputs uint8 (1, 12, 12)"
    for part in (
        *("teacher", "student", "distillation 0: kd", "distillation 1: hint", "training with the teacher"),
        *("export to ONNX", "quantisation int8-asymmetric", "target x86-onnxruntime", "disk", "memory"),
        *("device local: for x86-onnxruntime", "x86-onnxruntime on local:"),
    ):
        assert part in parts, part


def test_every_stage_has_its_price(tried):
    seconds = {row["stage"]: row["seconds"] for row in tried["stages"]}
    for row in (*seconds.values(), tried["seconds"]):
        assert 0 < row["low"] <= row["high"]
    assert list(seconds) == [
        "teacher", "scratch", "student", "export float", "quantise int8-asymmetric", "target x86-onnxruntime",
    ]  # fmt: skip
    for end in ("low", "high"):
        whole = sum(row[end] for row in seconds.values())
        assert tried["seconds"][end] == pytest.approx(whole, abs=0.4)  # each of seven is rounded to tenths


def test_what_needs_networks_is_found_with_networks(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    wrong = (
        "distillation.1.layers={ 'stages.7' = 'stages.2' }",
        "targets=['x86-tflite']",
        "devices={ x86-tflite = 'ssh://nobody-there.invalid' }",
    )
    found = faults_of(dry_run(str(recipe), wrong, tmp_path / "run", seconds=PATIENT))
    assert list(found) == ["device ssh://nobody-there.invalid for x86-tflite", "distillation 1: hint"]
    assert "stages.7" in found["distillation 1: hint"]
    odd = dry_run(str(recipe), ("teacher.options.depth=9", "student.options.depth=9"), tmp_path, seconds=PATIENT)
    assert list(faults_of(odd)) == ["teacher"]  # the same words are told once
    assert "depth 9 is not 6n + 2" in faults_of(odd)["teacher"]


def test_another_task_goes_through(tmp_path):
    random = np.random.default_rng(0)
    arrays = {f"{name}_{part}": random.normal(0, 1, (200, size, 32)[: 3 if size > 1 else 2]).astype(np.float32)
              for part in ("train", "test") for name, size in (("x", 3), ("y", 1))}  # fmt: skip
    np.savez(tmp_path / "numbers.npz", **arrays)
    (tmp_path / "recipe.toml").write_text(
        'task = { name = "regression" }\nquantization = { epochs = 0 }\ndistillation = [{ method = "mse" }]\n'
        f'data = {{ name = "npz", path = "{tmp_path / "numbers.npz"}" }}\n'
        'teacher = { model = "cnn1d", training = { epochs = 1, batch = 32 } }\n'
        'student = { model = "cnn1d", options = { width = 4 }, training = { epochs = 1, batch = 32 } }\n'
    )
    found = dry_run(str(tmp_path / "recipe.toml"), (), tmp_path / "run", seconds=PATIENT)
    assert found["faults"] == found["warnings"] == []
    assert found["checked"][0]["found"] == "180 train, 20 val, 200 test; regression; inputs float32 (3, 32)"


def test_without_torch_the_rest_is_checked(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    script = "import sys; sys.modules['torch'] = None; from edgekd.cli import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", script, "run", str(recipe), "--dry-run", "--json", "--set", "targets=['pixel-99']"]
    done = subprocess.run([*command, "--set", "devices={}"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    found = faults_of(json.loads(done.stdout))
    assert found["trial"] == "this needs an optional dependency: pip install 'edgekd[train]'"
    assert "unknown target 'pixel-99'" in found["target pixel-99"]


def test_too_little_disk_is_a_fault(tmp_path):
    faults = Faults(PATIENT)
    check_room(Price({}, disk_bytes=10**18, cache_bytes=10**17), tmp_path / "not" / "yet", faults)
    (fault,) = faults.faults
    assert fault["part"] == "disk"
    assert "needs about 1,000,000,000.0 GB (100,000,000.0 GB of it for the teacher's outputs)" in fault["fault"]


def test_too_little_memory_is_a_fault(tmp_path):
    faults = Faults(PATIENT)
    check_room(Price({}, disk_bytes=1, cache_bytes=0, memory_bytes=10**18), tmp_path, faults)
    (fault,) = faults.faults
    assert fault["part"] == "memory"
    assert "needs about 1,000,000,000.0 GB, this machine has" in fault["fault"]


def test_another_program_moves_only_the_upper_end(monkeypatch):
    """Two threads: a step of 0.6 s by the clock, in which this process had 0.4 s of the processors."""
    clock, now = Stopwatch(threads=2), {"clock": 0.0, "processors": 0.0}
    monkeypatch.setattr("time.perf_counter", lambda: now["clock"])
    monkeypatch.setattr("time.process_time", lambda: now["processors"])
    with clock.track("training student", 3) as steps:
        for _ in range(3):
            now["clock"] += 0.6
            now["processors"] += 0.4
            steps.advance()
    span = clock.span("training student")
    assert (span.low, span.high) == (pytest.approx(0.2), pytest.approx(0.6))


def test_only_what_a_device_executes_is_fine_tuned(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    for words, told in (
        ((), "calibrated, not fine-tuned: no device runs it"),
        (("quantization.fine_tune=all",), "2 epochs"),
        (("devices={}",), "2 epochs"),
    ):
        chosen = load_recipe(str(recipe), words)
        what = {row["stage"]: row["what"] for row in describe(chosen, load_targets(chosen))}
        assert what["quantise int8-symmetric"] == told
        assert what["quantise int8-asymmetric"] == "2 epochs"


def test_a_target_by_its_path_has_its_device(tmp_path):
    write_recipe(tmp_path)
    file, twin = tmp_path / "board.toml", tmp_path / "other" / "board.toml"
    twin.parent.mkdir()
    for path in (file, twin):
        path.write_bytes(target_files()["x86-onnxruntime"].read_bytes())
    words = [f"targets=['{file}']", f"devices={{ '{file}' = 'local:' }}", f"optional=['{file}']"]
    recipe = load_recipe(str(tmp_path / "tiny.toml"), words)
    named = with_names(recipe, {str(file): load_target(str(file))})
    assert (named.targets, named.optional, named.devices) == (("board",), ("board",), {"board": "local:"})
    words = [f"targets=['{file}', '{twin}']", "devices={}"]
    with pytest.raises(BadInputError, match="are both called 'board'"):
        run_recipe(load_recipe(str(tmp_path / "tiny.toml"), words), tmp_path / "run", SILENT)


def test_every_generation_and_the_targets_of_every_seed_have_their_price(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    chosen = load_recipe(str(recipe), (*ONE_TARGET, "seeds=2", "distillation=[{ method = 'born-again' }]"))
    targets = load_targets(chosen)
    rows = describe(chosen, targets, generations_of(load_methods(chosen.distillation)))
    own = ["scratch", "generation-1", "student", "export float", "quantise int8-asymmetric", "target x86-onnxruntime"]
    assert [row["stage"] for row in rows] == ["teacher", *own, *own[:-1], f"{own[-1]}, seed 1"]
    assert rows[-1]["what"] == "onnxruntime, int8-asymmetric, local:, not timed"
    trial, step = Trial(Stopwatch(), generations=2), Span(1.0, 1.0)
    for stage in ("teacher", "scratch", "generation-1", "student"):
        trial.clock.laps[f"training {stage}"].append(step)
    trial.clock.parts |= dict.fromkeys([*own[3:], "device x86-onnxruntime"], step)
    price = price_of(chosen, load_data(chosen), targets, trial)
    assert {row["stage"] for row in rows} == {stage for stage, seconds in price.seconds.items() if seconds}
    timed, untimed = price.seconds[own[-1]], price.seconds[f"{own[-1]}, seed 1"]
    variants, timing = 2, chosen.benchmark  # int8 and float
    assert timed.low - untimed.low == pytest.approx(variants * timing.replicates * (step.low + timing.seconds))


def test_when_time_is_up_the_rest_is_named():
    faults = Faults(seconds=0.0)
    assert faults.attempt("data", lambda: 1 / 0) is None
    assert faults.faults == []
    assert faults.warnings == [{"part": "data", "warning": "not tried: the time for a dry run is up"}]


def test_code_that_ends_the_process_is_a_fault():
    def leave():
        sys.exit("enough")

    faults = Faults(PATIENT)
    faults.attempt("data", leave)
    (fault,) = faults.faults
    assert fault["fault"].startswith("SystemExit: enough (test_dry_run.py, line ")
