"""A finished run is found again as it is, without torch; whatever has changed, its stages decide."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgekd.data import load
from edgekd.files import sha256
from edgekd.pipeline import finished
from edgekd.pipeline.finished import recall, remember
from edgekd.pipeline.plan import load_targets
from edgekd.pipeline.run import alone
from edgekd.progress import SILENT
from edgekd.recipe import load_recipe
from edgekd.reporting.run_record import RunRecord
from tests.small_run import arrays, complaint, edgekd

SPY = """
import sys
from edgekd.cli import app
try:
    app(sys.argv[1:])
finally:
    print(sorted({"torch", "onnxruntime", "openvino"} & sys.modules.keys()), file=sys.stderr)
"""


def cached(small_run):
    stages = [stage | {"state": "cached"} for stage in small_run.printed["stages"]]
    return RunRecord.parse(small_run.printed | {"stages": stages}, "what was printed")


@pytest.fixture
def folder(small_run, tmp_path):
    return shutil.copytree(small_run.folder, tmp_path / "run")


def content(folder):
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("events.jsonl", ".lock")]
    return {path.relative_to(folder): (sha256(path), path.stat().st_mtime_ns) for path in kept}


def asked(small_run, *overrides):
    recipe = load_recipe(str(small_run.recipe), overrides)
    return recipe, load_targets(recipe)


def test_nothing_is_done_again_and_nothing_imported_for_it(small_run, folder):
    before = content(folder)
    command = [sys.executable, "-c", SPY, "run", small_run.recipe, "--out", folder, "--json"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stderr.splitlines() == ["[]"]
    assert json.loads(again.stdout) == cached(small_run).document()
    assert content(folder) == before


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


PATHS = ("finished.json", "run.json", "report.html", "results.jsonl", "student/best.safetensors", "stages/student.json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("change", [damage, lambda path: path.unlink()])
def test_a_file_that_changed_is_seen(small_run, folder, path, change):
    change(folder / path)
    assert recall(*asked(small_run), folder, SILENT, False) is None


@pytest.mark.parametrize("override", ["student.training.epochs=9", "devices.x86-tflite=adb://phone", "seeds=2"])
def test_another_recipe_is_another_run(small_run, folder, override):
    assert recall(*asked(small_run, override), folder, SILENT, False) is None


def test_another_target_is_another_run(small_run, folder):
    recipe, (first, *others) = asked(small_run)
    changed = first.model_copy(update={"batch": 2})
    assert recall(recipe, [changed, *others], folder, SILENT, False) is None


@pytest.mark.parametrize("what", ["_digest", "_installed"])
def test_other_sources_and_other_libraries_are_seen(small_run, folder, monkeypatch, what):
    assert recall(*asked(small_run), folder, SILENT, False) == cached(small_run)
    monkeypatch.setattr(finished, what, lambda *_: "another")
    assert recall(*asked(small_run), folder, SILENT, False) is None


def test_other_data_and_other_checkpoints_are_seen(small_run, folder, tmp_path):
    weights, data = tmp_path / "teacher.safetensors", tmp_path / "tiny.npz"
    shutil.copy(small_run.folder / "teacher" / "best.safetensors", weights)
    shutil.copy(small_run.data, data)
    recipe, targets = asked(small_run, f"teacher.checkpoint={weights}", f"data.path={data}")
    remember(recipe, targets, load(recipe.data, recipe.seed).digest(), folder)
    assert recall(recipe, targets, folder, SILENT, False) == cached(small_run)
    damage(weights)
    assert recall(recipe, targets, folder, SILENT, False) is None
    damage(weights)
    np.savez(data, **{name: array[::-1] for name, array in arrays().items()})
    assert recall(recipe, targets, folder, SILENT, False) is None


def test_code_of_the_users_own_may_read_what_nobody_sees(small_run, folder):
    recipe, targets = asked(small_run, "student.model=mine:student")
    (folder / "finished.json").unlink()
    remember(recipe, targets, "0" * 64, folder)
    assert not (folder / "finished.json").exists()


def test_a_folder_that_another_run_holds_is_refused_all_the_same(small_run, folder):
    with alone(folder, fresh=False):
        assert "another run is at work" in complaint(edgekd("run", small_run.recipe, "--out", folder), 2)
