"""A runner that brings its own loader and libraries: a folder, whose index says what is in it and how it starts."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgekd.bundle import File
from edgekd.devices._address import RUNNER
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.reading import read_json
from edgekd.schema import Schema

INDEX, PACKAGE = "runner.json", "edgekd_runner"
Name = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]  # of a file in the folder itself


class Index(Schema):
    """What is in the folder: `made_of` are the packages that its libraries are from, by version."""

    format: Literal[1] = 1
    arch: str
    loader: Name
    made_of: dict[str, str]
    files: dict[Name, File]


def shipped_runner(arch: str) -> Path | None:
    """The program for a kind of processor, by `uname -m`, where the package edgekd-runner is installed."""
    spec = find_spec(PACKAGE)
    folders = [Path(place, arch) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((folder / RUNNER for folder in folders if (folder / INDEX).is_file()), None)


def start_command(program: Path, there: str) -> list[str]:
    """How a runner that was pushed into the folder `there` starts: by its own loader, if its folder has one.

    BadInputError where a file is not what the folder's index says: it does not travel.
    """
    if not (program.parent / INDEX).is_file():
        return [f"{there}/{program.name}"]
    index = _whole(program.parent)
    return [f"{there}/{index.loader}", "--library-path", there, f"{there}/{program.name}"]


def _whole(folder: Path) -> Index:
    index = Index.parse(read_json(folder / INDEX), str(folder / INDEX))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {INDEX}
    odd = sorted(found ^ index.files.keys())
    odd += sorted(name for name in found & index.files.keys() if sha256(folder / name) != index.files[name].sha256)
    if odd or index.loader not in index.files:
        name = (odd or [index.loader])[0]
        raise BadInputError(f"{folder}: {name} is not what {INDEX} says: install edgekd-runner again")
    return index
