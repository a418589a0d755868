"""Networks of other libraries by name: what is not there, does not import or is misspelled is one line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgekd import model_libraries
from edgekd.errors import BadInputError
from edgekd.model_libraries import cached_weights
from edgekd.pipeline.learn import code_of
from edgekd.pipeline.origin import library_versions
from edgekd.plugins import names
from edgekd.recipe import Model
from edgekd.students import build_model, takes_teacher
from edgekd.user_code import is_own

LIBRARY = """
from torch import nn
from edgekd.errors import BadInputError
from edgekd.plugins import nearest

def check(name):
    if name != "flat":
        raise BadInputError(f"lib has no {name!r}{nearest(name, ['flat'])}", hint="lib --list")

def build(name, classes, input_shape, *, hidden=2):
    size = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.Linear(hidden, classes))
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library's file, in the place where edgekd looks for them."""
    places = [*model_libraries.__path__, str(tmp_path)]
    monkeypatch.setattr(model_libraries, "__path__", places)
    monkeypatch.setattr(model_libraries.__spec__, "submodule_search_locations", places)
    path = tmp_path / "lib.py"
    path.write_text(LIBRARY)
    yield path
    sys.modules.pop("edgekd.model_libraries.lib", None)


def build(name: str, **options: object) -> torch.nn.Module:
    return build_model(Model(model=name, options=options), 7, (1, 4, 4))


def test_a_file_more_is_a_library_more(library: Path) -> None:
    assert {"lib", "timm", "transformers"} <= set(names("edgekd.model_libraries"))
    network = build("lib:flat", hidden=3)
    assert network(torch.zeros(2, 1, 4, 4)).shape == (2, 7)
    assert network[1].out_features == 3
    assert not takes_teacher(Model(model="lib:flat"))


@pytest.mark.parametrize(
    ("source", "name", "message", "hint"),
    [
        (LIBRARY, "lib:flatt", "model 'lib:flatt': lib has no 'flatt'; did you mean 'flat'?", "lib --list"),
        ("import lib", "lib:x", "model 'lib:x': lib is not installed", "pip install lib"),
        ("import absent_one", "lib:x", "lib needs absent_one, which is not installed", "pip install absent_one"),
        ("raise OSError('no nms')", "lib:x", "is installed, but does not import: OSError: no nms", "import lib"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_a_command(
    library: Path, source: str, name: str, message: str, hint: str
) -> None:
    library.write_text(source)
    with pytest.raises(BadInputError) as caught:
        build(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint


def test_an_option_that_a_library_does_not_take_is_named(library: Path) -> None:
    with pytest.raises(BadInputError, match="model 'lib:flat': TypeError.*'hiden'"):
        build("lib:flat", hiden=3)


def test_a_library_is_no_code_of_the_users(library: Path) -> None:
    assert not is_own("lib:flat")
    assert is_own("mine:flat")
    assert not is_own("resnet")


def test_a_stage_depends_on_the_file_and_on_the_librarys_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(Model(model="timm:resnet18")) == "edgekd.model_libraries.timm"
    assert code_of(Model(model="mine:net")) == "mine"
    monkeypatch.setattr("edgekd.pipeline.origin._version", lambda name: "1.2+cpu")
    assert library_versions(["timm", "json"]) == {"timm": "1.2"}


def test_weights_come_from_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    with pytest.raises(BadInputError, match="not in this machine's cache, and a run downloads nothing") as caught:
        cached_weights("someone/net")
    assert caught.value.hint == "hf download someone/net"
    held = tmp_path / "models--someone--net"
    (held / "snapshots/abc").mkdir(parents=True)
    (held / "refs").mkdir()
    (held / "refs/main").write_text("abc")
    (held / "snapshots/abc/model.safetensors").write_bytes(b"")
    assert cached_weights("someone/net") == str(held / "snapshots/abc/model.safetensors")
