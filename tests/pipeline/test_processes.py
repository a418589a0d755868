"""A recipe in two processes: one folder, one document, the stages of a run in one."""

import json

import pytest

from tests.launched import finish, launch
from tests.small_run import edgekd, write_recipe

SHORT = [
    "targets=[]", "devices={}", "teacher.training.epochs=1", "student.training.epochs=1", 'data.augmentation=["flip"]',
]  # fmt: skip


@pytest.mark.long
def test_two_processes_run_a_recipe_as_one_does(tmp_path):
    recipe, _ = write_recipe(tmp_path)
    settings = [part for setting in SHORT for part in ("--set", setting)]
    group = launch("-m", "edgekd", "run", recipe, "--out", tmp_path / "two", "--json", *settings)
    (status, said, trouble), (other_status, nothing, other_trouble) = finish(group)
    assert (status, other_status) == (0, 0), trouble + other_trouble
    assert nothing == ""
    two, one = (
        json.loads(said),
        json.loads(edgekd("run", recipe, "--out", tmp_path / "one", "--json", *settings).stdout),
    )
    assert shape(two) == shape(one)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert events(tmp_path / "two") == events(tmp_path / "one")
    again = json.loads(edgekd("run", recipe, "--out", tmp_path / "two", "--json", *settings).stdout)
    assert all(stage["state"] == "cached" for stage in again["stages"])
    assert again["student"] == two["student"]


def shape(document):
    """Keys all the way down, and lengths of lists; but whether a gap says why it is none is the numbers' affair."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items() if key != "reason"}
    return [shape(value) for value in document] if isinstance(document, list) else None


def files(folder):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in names if not name.startswith(".")]


def events(folder):
    lines = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [[line.get(key) for key in ("event", "name", "stage", "epoch")] for line in lines]
