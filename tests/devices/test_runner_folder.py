"""A runner that brings all that it needs: nothing of its folder is sent that its index does not vouch for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.devices import start_command
from edgekd.devices._runner import INDEX, shipped_runner
from edgekd.errors import BadInputError
from edgekd.files import sha256

PROGRAM, LOADER = "edgekd-runner", "ld-linux-aarch64.so.1"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `pip install edgekd-runner` leaves it, but for what the files hold."""
    folder = tmp_path / "edgekd_runner" / "aarch64"
    folder.mkdir(parents=True)
    for name in (PROGRAM, LOADER, "libc.so.6"):
        (folder / name).write_bytes(name.encode())
    files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in folder.iterdir()}
    index = {"format": 1, "arch": "aarch64", "loader": LOADER, "made_of": {"libc6": "2.36"}, "files": files}
    (folder / INDEX).write_text(json.dumps(index))
    (tmp_path / "edgekd_runner" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_it_is_found_by_processor_and_started_by_its_own_loader(package: Path) -> None:
    program = shipped_runner("aarch64")
    assert program == package / PROGRAM
    assert shipped_runner("riscv64") is None
    assert start_command(program, "/there/aarch64") == [
        f"/there/aarch64/{LOADER}", "--library-path", "/there/aarch64", f"/there/aarch64/{PROGRAM}",
    ]  # fmt: skip


def test_a_folder_without_an_index_starts_by_itself(package: Path) -> None:
    (package / INDEX).unlink()
    assert shipped_runner("aarch64") is None
    assert start_command(package / PROGRAM, "/there") == [f"/there/{PROGRAM}"]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def add(path: Path) -> None:
    shutil.copy(path, path.with_name("more.so"))


@pytest.mark.parametrize(
    ("change", "named"),
    [(damage, "libc.so.6"), (Path.unlink, "libc.so.6"), (add, "more.so")],
    ids=["bit", "gone", "new"],
)
def test_what_the_index_does_not_vouch_for_is_named(package: Path, change: Callable[[Path], None], named: str) -> None:
    change(package / "libc.so.6")
    with pytest.raises(BadInputError, match=f"{named} is not what {INDEX} says"):
        start_command(package / PROGRAM, "/there")


def test_a_loader_is_a_file_of_the_folder(package: Path) -> None:
    text = (package / INDEX).read_text()
    (package / INDEX).write_text(text.replace(f'"loader": "{LOADER}"', '"loader": "../../bin/sh"'))
    with pytest.raises(BadInputError, match="loader"):
        start_command(package / PROGRAM, "/there")
