"""Names that become paths stay in their folder, whoever chose them."""

import shutil

import pytest

from edgekd.errors import BadInputError
from edgekd.names import LONGEST, file_name
from edgekd.package_data import TARGETS
from edgekd.recipe import load_recipe
from edgekd.target import load_target
from tests.small_run import complaint, edgekd, write_recipe

UNFIT = (
    *(
        "../../x",
        "a/b",
        "/etc/passwd",
        "..",
        ".",
        "",
        "  ",
        "a\\b",
        "C:x",
        "a\0b",
        "\x1b[31m",
        "a\nb",
        "\x9b",
        "a\u202eb",
    ),
    *("a\u2028b", "\ud800", "x" * (LONGEST + 1), "con", "NUL.txt", "lpt1", "-rf", "end.", "end ", " start", "*", "a|b"),
)


@pytest.mark.parametrize("name", UNFIT)
def test_a_name_that_leaves_its_folder_or_cannot_be_a_file_is_refused(name):
    with pytest.raises(ValueError, match="name|'"):
        file_name(name)


@pytest.mark.parametrize("name", ["x", "my student", "pixel-8", "ä.b_c", ".hidden", "console", "x" * LONGEST])
def test_other_names_are_theirs(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["../../x", "\\u001b[31m"])
def test_a_recipe_cannot_name_a_folder_outside(tmp_path, monkeypatch, name):
    recipe = write_recipe(tmp_path)[0]
    recipe.write_text(f'name = "{name}"\n' + recipe.read_text())
    with pytest.raises(BadInputError, match=r"tiny\.toml: name: "):
        load_recipe(str(recipe))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.parent.iterdir())
    assert "\x1b" not in complaint(edgekd("run", recipe), 2)
    assert sorted(tmp_path.parent.iterdir()) == before


def test_a_target_cannot_name_a_folder_outside(tmp_path, monkeypatch):
    own = tmp_path / "own.toml"
    own.write_text('name = "../../x"\n' + (TARGETS / "x86-onnxruntime.toml").read_text())
    with pytest.raises(BadInputError, match=r"own\.toml: name: '\.\./\.\./x' has '/' in it"):
        load_target(str(own))
    monkeypatch.chdir(tmp_path)
    shutil.copy(TARGETS / "x86-onnxruntime.toml", tmp_path / "beside.toml")
    (tmp_path / "targets").mkdir()
    with pytest.raises(BadInputError, match=r"target: '\.\./beside' has '/' in it"):
        load_target("../beside")
