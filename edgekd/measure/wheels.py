"""Wheels for a device's Python: pip downloads them here, once; what was downloaded is pinned by its hashes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field

from edgekd.bundle import File
from edgekd.errors import BadInputError, DamagedError
from edgekd.files import digest, sha256, write_json
from edgekd.reading import read_json
from edgekd.schema import Schema

INDEX, REQUIREMENTS = "wheels.json", "requirements.txt"
PATIENCE = 900  # seconds for one download
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # older names, by minor version of glibc
OLDEST = 5
Wheel = Annotated[str, Field(pattern=r"^\w[\w.+!-]*\.whl$")]


@dataclass(frozen=True)
class Platform:
    """What wheels have to fit: CPython's version, the processor as wheels name it, the minor version of its glibc 2."""

    python: tuple[int, ...]
    machine: str
    glibc: int

    @property
    def tags(self) -> list[str]:
        """As pip's `--platform` takes them, the newest first."""
        tags = []
        for minor in range(self.glibc, OLDEST - 1, -1):
            names = [f"manylinux_2_{minor}", *([LEGACY[minor]] if minor in LEGACY else [])]
            tags += [f"{name}_{self.machine}" for name in names]
        return tags

    def __str__(self) -> str:
        return f"CPython {'.'.join(map(str, self.python))} on {self.machine}, glibc 2.{self.glibc}"


class Index(Schema):
    """What was downloaded for these requirements: the wheels, and their hashes from then on."""

    format: int = 1
    requirements: tuple[str, ...]
    files: dict[Wheel, File]


def wheels_for(platform: Platform, requirements: Sequence[str]) -> Path:
    """The folder of wheels that satisfy requirements, pip's own among them, and a requirements.txt with their hashes.

    After the first time nothing is asked of a network. BadInputError where there are none, with pip's reason;
    DamagedError where a file is not what was downloaded.
    """
    folder = _cache() / name_of(platform, requirements)
    if not (folder / INDEX).is_file():
        _download(platform, requirements, folder)
    index = Index.parse(read_json(folder / INDEX), str(folder / INDEX))
    for name, file in index.files.items():
        if not (folder / name).is_file() or sha256(folder / name) != file.sha256:
            raise DamagedError(folder / name)
    return folder


def name_of(platform: Platform, requirements: Sequence[str]) -> str:
    """What stands for them, here and on devices."""
    return digest([str(platform), *requirements])[:16]


def pip_among(wheels: Path) -> str:
    """The name of pip's own wheel."""
    return next(path.name for path in wheels.glob("pip-*.whl"))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekd" / "wheels"


def _download(platform: Platform, requirements: Sequence[str], folder: Path) -> None:
    """All or nothing: what an interrupted download leaves is not taken for whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=folder.parent) as scratch:
        wanted = Path(scratch, folder.name)
        _pip(platform, ["pip", *requirements], wanted)
        files = {path.name: File(sha256=sha256(path), bytes=path.stat().st_size) for path in sorted(wanted.iterdir())}
        lines = [_pinned(name, file) for name, file in files.items() if not name.startswith("pip-")]
        (wanted / REQUIREMENTS).write_text("".join(lines), encoding="utf-8")
        write_json(wanted / INDEX, Index(requirements=tuple(requirements), files=files).model_dump(mode="json"))
        if not folder.exists():
            wanted.rename(folder)


def _pip(platform: Platform, requirements: Sequence[str], folder: Path) -> None:
    version = ".".join(map(str, platform.python))
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    argv += ["--implementation=cp", f"--python-version={version}", f"--abi=cp{version.replace('.', '')}"]
    argv += ["--abi=abi3", "--abi=none", *(f"--platform={tag}" for tag in platform.tags), f"--dest={folder}"]
    try:
        done = subprocess.run([*argv, "--", *requirements], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise BadInputError(f"pip brought no wheels within {PATIENCE} s: try again") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = said[-1].removeprefix("ERROR: ") if said else "no reason given"
        raise BadInputError(f"no wheels of {' '.join(requirements[1:])} for {platform}: {reason}")


def _pinned(wheel: str, file: File) -> str:
    """A line of requirements.txt; a wheel's name begins with the package's and its version."""
    name, version = wheel.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{file.sha256}\n"
