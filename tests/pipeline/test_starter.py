"""`edgekd init`, and that what it writes runs as it is."""

import json
import sys
import tomllib

import pytest

from edgekd import user_code
from edgekd.pipeline.starter import tasks
from edgekd.recipe import load_recipe
from edgekd.target import target_files
from tests.pty_run import in_terminal
from tests.small_run import complaint, edgekd

QUICK = (
    *("--set", "quantization.epochs=0", "--set", "teacher.training.epochs=2", "--set", "student.training.epochs=2"),
    *("--set", "benchmark.replicates=2", "--set", "benchmark.seconds=0.01", "--set", "benchmark.count=5"),
)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Of the folders that recipes were read from, and of the module in each, nothing is left for other tests."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(user_code, "_folders", [])
    yield
    sys.modules.pop("mine", None)


def written(folder, *options):
    done = edgekd("init", folder / "recipe.toml", *options)
    assert done.exit_code == 0, done.stderr
    return load_recipe(str(folder / "recipe.toml"))


@pytest.mark.parametrize("task", tasks())
def test_a_starter_is_short_and_says_how_to_go_on(tmp_path, task):
    done = edgekd("init", tmp_path / "recipe.toml", "--task", task)
    recipe, module = tmp_path / "recipe.toml", tmp_path / "mine.py"
    assert done.stdout == f"wrote {recipe} and {module}; next: edgekd run {recipe} --dry-run\n"
    assert load_recipe(str(recipe)).targets == ("x86-onnxruntime",)
    assert f"edgekd run {recipe} --dry-run" in recipe.read_text()
    assert len(recipe.read_text().splitlines()) <= 40
    assert len(module.read_text().splitlines()) <= 34


def test_what_is_wished_for_is_in_the_recipe(tmp_path):
    targets = ("--target", "pixel-9", "--target", "x86-tflite")
    recipe = written(tmp_path, "--model", "resnet", "--data", "fashion-mnist-subset", *targets)
    assert recipe.targets == ("pixel-9", "x86-tflite")
    assert recipe.devices == {"x86-tflite": "local:"}
    assert (recipe.teacher.options, recipe.student.options) == ({"width": 16}, {"width": 8})
    assert recipe.data.name == "fashion-mnist-subset"
    assert not (tmp_path / "mine.py").exists()
    (tmp_path / "photographs").mkdir()
    own = written(tmp_path / "own", "--model", "theirs:net", "--data", tmp_path / "photographs")
    assert (own.data.name, own.data.path) == ("image-folder", str(tmp_path / "photographs"))
    assert (own.teacher.model, own.student.model) == ("theirs:net", "mine:student")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--task", "imges"), "unknown task 'imges'; did you mean 'images'?"),
        (("--model", "resnett"), "did you mean 'resnet'?"),
        (("--data", "nowhere"), "no .npz, no folder, no module:function"),
        (("--target", "pixel"), "unknown target 'pixel'"),
        (("--target", "pixel-9", "--target", "pixel-9"), "a target is named twice"),
        (("--model", 'a"b:net'), "expected module:function"),
        (("--model", r"a\1:net"), "expected module:function"),
        (("--data", 'a:b"'), "expected module:function"),
    ],
)
def test_what_there_is_not_is_refused_and_nothing_written(tmp_path, option, said):
    assert said in complaint(edgekd("init", tmp_path / "recipe.toml", *option), 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["recipe", "quickstart", "recipe.TOML"])
def test_a_file_that_run_would_not_read_is_refused_with_the_name_that_it_would(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert complaint(edgekd("init", name), 2).endswith(f"next: edgekd init {name}.toml")
    assert not list(tmp_path.iterdir())


def test_names_with_spaces_and_other_letters_are_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    board = tmp_path / "my board.toml"
    board.write_bytes(target_files()["x86-onnxruntime"].read_bytes())
    folder = tmp_path / "my 😀 things"
    recipe = written(folder, "--target", board, "--data", "naïve 😀.npz")
    assert (recipe.targets, recipe.data.path) == ((str(board),), "naïve 😀.npz")
    lines = (folder / "recipe.toml").read_text(encoding="utf-8").splitlines()
    assert f"edgekd run '{folder / 'recipe.toml'}' --dry-run" in lines[0]
    assert tomllib.loads(lines[-1].lstrip("# ")) == {str(board): "ssh://user@host"}


def test_nothing_is_overwritten(tmp_path):
    written(tmp_path)
    before = (tmp_path / "mine.py").read_text()
    assert "exists" in complaint(edgekd("init", tmp_path / "recipe.toml"), 2)
    assert "mine.py exists" in complaint(edgekd("init", tmp_path / "other.toml"), 2)
    assert (tmp_path / "mine.py").read_text() == before
    assert not (tmp_path / "other.toml").exists()


def test_at_a_terminal_it_asks(tmp_path):
    command = [sys.executable, "-m", "edgekd", "init", str(tmp_path / "recipe.toml")]
    said = in_terminal(command, 100, typed="signals\n\n\nx86-tflite tflm-cortex-m\n")
    for question in ("What are the data?", "Where are they?", "The teacher?", "Where will it run?"):
        assert question in said
    assert load_recipe(str(tmp_path / "recipe.toml")).targets == ("x86-tflite", "tflm-cortex-m")
    assert "float32 signals" in (tmp_path / "mine.py").read_text()


def goes_through(folder, task):
    """A new user's path: init, dry run, run, bench, report."""
    recipe, out = folder / "recipe.toml", folder / "out"
    written(folder, "--task", task)
    for words in (("--dry-run", "--json"), ("--json",)):
        done = edgekd("run", recipe, "--out", out, *QUICK, *words)
        assert done.exit_code == 0, done.stdout + done.stderr
        assert json.loads(done.stdout).get("faults", []) == []
    (entry,) = json.loads((out / "run.json").read_text())["targets"].values()
    assert entry["status"] == "ok"
    quick = ("--replicates", 2, "--seconds", 0.01, "--count", 5)
    assert edgekd("bench", out / "bundles" / "x86-onnxruntime", *quick).exit_code == 0
    assert edgekd("report", out).exit_code == 0


def test_a_new_users_path_with_images(tmp_path):
    goes_through(tmp_path, "images")


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in tasks() if task != "images"])
def test_a_new_users_path_with_other_data(tmp_path, task):
    goes_through(tmp_path, task)
