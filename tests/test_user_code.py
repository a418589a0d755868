import json
import subprocess
import sys

import pytest

from edgekd import user_code
from edgekd.errors import BadInputError
from edgekd.pipeline.plan import describe
from edgekd.recipe import load_recipe
from edgekd.user_code import custom
from tests.test_cli import complaint, edgekd

RECIPE = """
data         = { name = "mine:data" }
teacher      = { model = "mine:teacher" }
student      = { model = "resnet" }
distillation = [{ method = "kd" }]
"""
MINE = """
import functools, os, subprocess, numpy, json
from collections import OrderedDict
from subprocess import run as teacher
def data(): return "mine"
class Own: pass
own = functools.partial(data)
theirs = functools.partial(os.system, "true")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a recipe and its module, of which nothing is left in the interpreter."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(user_code, "_folders", [])
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    "reference",
    ["os:system", "subprocess:run", "builtins:eval", "os.path:join", "posix:system", "__main__:app", "test.support:x"],
)
def test_python_itself_may_not_be_named(folder, reference):
    with pytest.raises(BadInputError, match="Python's own modules"):
        custom(reference, "model")
    with pytest.raises(BadInputError, match="Python's own modules"):  # before anything runs
        load_recipe(str(folder / "recipe.toml"), [f"teacher.model={reference}"])


@pytest.mark.parametrize("name", ["os", "subprocess", "teacher", "theirs", "OrderedDict"])
def test_nor_by_way_of_another_module(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    with pytest.raises(BadInputError, match=f"'mine:{name}': is Python's own"):
        custom(f"mine:{name}", "model")


@pytest.mark.parametrize("reference", ["mine:", ":data", "mine:data.x", "../mine:data", ".mine:data", "mine:data:x"])
def test_a_reference_is_a_module_and_one_name(folder, monkeypatch, reference):
    monkeypatch.chdir(folder)
    with pytest.raises(BadInputError, match="expected module:function"):
        custom(reference, "model")


@pytest.mark.parametrize("name", ["data", "own", "Own"])
def test_the_users_own_is_found_in_the_current_folder(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    assert callable(custom(f"mine:{name}", "model"))


def test_and_beside_the_recipe(folder):
    with pytest.raises(BadInputError, match="no module named 'mine'"):
        custom("mine:data", "data set")
    load_recipe(str(folder / "recipe.toml"))
    assert custom("mine:data", "data set")() == "mine"


def test_and_in_an_installed_package(folder):
    assert custom("numpy:zeros", "data set")(2).shape == (2,)


def test_what_two_modules_are_called_is_not_guessed(folder, monkeypatch):
    (folder / "numpy.py").write_text("def zeros(): pass")
    monkeypatch.chdir(folder)
    with pytest.raises(BadInputError, match=r"numpy\.py or .*rename your numpy"):
        custom("numpy:zeros", "data set")


def test_a_file_takes_no_installed_modules_place(folder):
    """Neither when it is named nor when the user's own code, or a package, imports it."""
    for name in ("numpy", "json", "csv", "pydantic"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    script = (
        "import sys; from edgekd.recipe import load_recipe; from edgekd.user_code import custom;"
        f"load_recipe({str(folder / 'recipe.toml')!r}); custom('mine:data', 'data set');"
        "import csv, numpy, pydantic; print(numpy.__version__)"
    )
    command = [sys.executable, "-P", "-c", script]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    (folder / "json.py").unlink()  # the launcher of `-m` itself reads this one
    (folder / "csv.py").unlink()
    command = [sys.executable, "-m", "edgekd", "run", "recipe.toml", "--dry-run", "--json"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 2, finished.stderr
    assert {row["part"] for row in json.loads(finished.stdout)["faults"]} == {"data", "teacher"}  # the user's own
    assert "the wrong one" not in finished.stdout


def test_a_recipe_says_which_functions_it_calls(folder):
    recipe = folder / "recipe.toml"
    first = json.loads(edgekd("run", recipe, "--dry-run", "--json").stdout)["stages"][0]
    assert first == {"stage": "code", "what": "calls mine:data, mine:teacher"}
    (folder / "mine.py").write_text("raise OSError('stop here')")
    finished = edgekd("run", recipe, "--out", folder / "out", "--json")
    assert finished.stderr.splitlines()[0] == "this recipe calls mine:data, mine:teacher"
    assert describe(load_recipe("quickstart"), [])[0]["stage"] == "teacher"


def test_no_code_refuses_every_function(folder):
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    message = complaint(edgekd("run", folder / "recipe.toml", "--no-code", "--out", folder / "out"), 2)
    assert "--no-code, but it calls mine:data, mine:teacher" in message
    assert not (folder / "ran").exists()
    assert not (folder / "out").exists()
    assert load_recipe("quickstart", code=False).code == ()
    own_method = edgekd("run", "quickstart", "--no-code", "--set", "distillation.0.method=mine:Own")
    assert "calls mine:Own" in complaint(own_method, 2)


def test_a_dry_run_without_code_runs_none(folder):
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    done = edgekd("run", folder / "recipe.toml", "--no-code", "--dry-run", "--json")
    assert done.exit_code == 2
    faults = [row["fault"] for row in json.loads(done.stdout)["faults"]]
    assert faults == [f"--no-code, but the recipe calls {name}" for name in ("mine:data", "mine:teacher")]
    assert not (folder / "ran").exists()
