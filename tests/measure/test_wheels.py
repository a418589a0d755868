"""Wheels from here: what pip is asked for and what is kept of its answer; a script stands in for pip."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.errors import BadInputError, DamagedError
from edgekd.files import sha256
from edgekd.measure import wheels
from edgekd.measure.wheels import Platform, name_of, pip_among, wheels_for

BOARD = Platform((3, 11), "aarch64", 31)
GIVEN = ("numpy-2.1.0-cp311-cp311-linux.whl", "pip-25.0-py3-none-any.whl", "ncnn-1.0-py3-none-any.whl")
Pip = Callable[[str], Path]


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """`pip(script)`: what stands in for this Python, `$folder` being where it downloads to; the words that it got."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(script: str) -> Path:
        path, words = tmp_path / "python", tmp_path / "words"
        find = 'for word; do case "$word" in --dest=*) folder="${word#--dest=}";; esac; done'
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{words}\n{find}\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        return words

    return install


def gives(*names: str) -> str:
    return 'mkdir -p "$folder"\n' + "\n".join(f'echo {name} >"$folder/{name}"' for name in names)


@pytest.mark.parametrize(
    ("glibc", "names"),
    [
        (4, []),
        (5, ["manylinux_2_5", "manylinux1"]),
        (6, ["manylinux_2_6", "manylinux_2_5", "manylinux1"]),
    ],
)
def test_wheels_for_an_older_glibc_fit_too_the_newest_first(glibc: int, names: list[str]) -> None:
    assert Platform((3, 11), "x86_64", glibc).tags == [f"{name}_x86_64" for name in names]


def test_older_names_stand_beside_their_version_of_glibc() -> None:
    tags = Platform((3, 11), "aarch64", 18).tags
    assert tags[:4] == [f"manylinux{name}_aarch64" for name in ("_2_18", "_2_17", "2014", "_2_16")]
    assert tags[7:9] == ["manylinux_2_12_aarch64", "manylinux2010_aarch64"]
    assert len(tags) == 14 + 3


def test_a_platform_in_words_and_the_name_of_what_fits_it() -> None:
    assert str(BOARD) == "CPython 3.11 on aarch64, glibc 2.31"
    other = Platform((3, 12), "aarch64", 31)
    names = {name_of(platform, need) for platform in (BOARD, other) for need in (["numpy"], ["numpy", "ncnn"])}
    assert len(names) == 4


def test_pip_is_asked_once_for_wheels_of_the_platform(pip: Pip) -> None:
    words = pip(gives(*GIVEN))
    folder = wheels_for(BOARD, ["numpy", "ncnn"])
    asked = words.read_text().split("\n")
    assert asked[:3] == ["-m", "pip", "download"]
    assert {"--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none", "--only-binary=:all:"} <= set(asked)
    assert [word.partition("=")[2] for word in asked if word.startswith("--platform=")] == BOARD.tags
    assert asked[asked.index("--") :] == ["--", "pip", "numpy", "ncnn", ""]
    assert pip_among(folder) == "pip-25.0-py3-none-any.whl"
    pip("exit 1")
    assert wheels_for(BOARD, ["numpy", "ncnn"]) == folder


def test_what_was_downloaded_is_pinned_but_for_pip(pip: Pip) -> None:
    pip(gives(*GIVEN))
    folder = wheels_for(BOARD, ["numpy", "ncnn"])
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines == [
        f"ncnn==1.0 --hash=sha256:{sha256(folder / GIVEN[2])}",
        f"numpy==2.1.0 --hash=sha256:{sha256(folder / GIVEN[0])}",
    ]
    index = json.loads((folder / "wheels.json").read_text())
    assert (index["requirements"], sorted(index["files"])) == (["numpy", "ncnn"], sorted(GIVEN))
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("x")])
def test_a_wheel_that_changed_or_went_is_damaged(pip: Pip, damage: Callable[[Path], None]) -> None:
    pip(gives(*GIVEN))
    folder = wheels_for(BOARD, ["numpy"])
    damage(folder / GIVEN[0])
    with pytest.raises(DamagedError, match=r"numpy-2\.1\.0"):
        wheels_for(BOARD, ["numpy"])


def test_what_another_process_downloaded_meanwhile_is_kept(pip: Pip, tmp_path: Path) -> None:
    pip(gives(*GIVEN))
    folder = wheels_for(BOARD, ["numpy"])
    folder.rename(tmp_path / "theirs")
    pip(gives("numpy-3.0.0-py3-none-any.whl", GIVEN[1]) + f"\nmv {tmp_path / 'theirs'} {folder}")
    assert (wheels_for(BOARD, ["numpy"]) / GIVEN[0]).is_file()
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo a >&2; echo 'ERROR: no match' >&2; echo b >&2; exit 1", "no match"),
        ("echo 'ERROR: first' >&2; echo 'ERROR: last' >&2; exit 2", "last"),
        ("echo a >&2; echo b >&2; exit 1", "b"),
        ("exit 1", "no reason given"),
    ],
)
def test_why_pip_brought_none_is_told(pip: Pip, script: str, reason: str) -> None:
    pip(script)
    told = f"^no wheels of numpy ncnn for CPython 3.11 on aarch64, glibc 2.31: {reason}$"
    with pytest.raises(BadInputError, match=told):
        wheels_for(BOARD, ["numpy", "ncnn"])


def test_a_download_that_does_not_end_is_given_up(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    pip("exec sleep 60")
    monkeypatch.setattr(wheels, "PATIENCE", 0.2)
    with pytest.raises(BadInputError, match=r"pip brought no wheels within 0\.2 s: try again"):
        wheels_for(BOARD, ["numpy"])


def test_wheels_lie_below_the_home_unless_another_cache_is_named(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip(gives(*GIVEN))
    assert wheels_for(BOARD, ["numpy"]).parent == tmp_path / "cache/edgekd/wheels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert wheels_for(BOARD, ["numpy"]).parent == tmp_path / "home/.cache/edgekd/wheels"
