"""What travels to a device: files named by their content, so that none travels twice."""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from edgekd.errors import BadInputError
from edgekd.files import digest, sha256


@dataclass(frozen=True)
class Transfer:
    """A file or a folder. `files` are its files by the name that each has on the device, which begins with `name`."""

    name: str
    files: dict[str, Path]

    @cached_property
    def sums(self) -> dict[str, str]:
        """SHA-256 of each file, by name."""
        return {name: sha256(path) for name, path in self.files.items()}

    @cached_property
    def digest(self) -> str:
        """Identity of names and content."""
        return digest(self.sums)


def prepare_transfer(path: Path) -> Transfer:
    """Pack a file, or a folder with all in it; BadInputError for what is no file and for links that leave it."""
    root = path.resolve()
    if not root.is_dir():
        return Transfer(root.name, {root.name: _plain(root)})
    inside = sorted(entry for entry in root.rglob("*") if entry.is_symlink() or not entry.is_dir())
    for entry in inside:
        if not entry.resolve().is_relative_to(root):
            raise BadInputError(f"{entry}: a link out of its folder does not travel")
    return Transfer(root.name, {f"{root.name}/{entry.relative_to(root).as_posix()}": _plain(entry) for entry in inside})


def write_tar(stream: IO[bytes], files: Iterable[tuple[str, Path]]) -> None:
    """A tar archive of files, each under the hash it should have: no name of the user's is in it."""
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, path in files:
            with path.open("rb") as content:
                info = tarfile.TarInfo(name)
                info.size, info.mode = path.stat().st_size, 0o700
                archive.addfile(info, content)


def _plain(path: Path) -> Path:
    if not path.is_file():
        raise BadInputError(f"{path}: {'not a plain file' if path.exists() else 'no such file'}")
    return path
