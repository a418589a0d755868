"""Which backends run in a browser, and the files of npm that do it: pinned, and taken from the user's cache alone."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.runtimes import backend_names, source_of

INSTALL = "edgekd web install"


@dataclass(frozen=True)
class Package:
    """An npm package. `files`, by the name that a browser gets them by: where they lie in it, and their SHA-256."""

    name: str
    version: str
    files: Mapping[str, tuple[str, str]]

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "edgekd" / "web" / f"{self.name.replace('@', '').replace('/', '-')}-{self.version}"

    @property
    def installed(self) -> bool:
        """Whether all its files are there and are those that were pinned."""
        return all(self._intact(name) for name in self.files)

    def read(self, name: str) -> bytes:
        """A file's content; BadInputError where it is missing, or another."""
        if not self._intact(name):
            raise BadInputError(f"{self.folder / name} is missing or damaged", hint=INSTALL)
        return (self.folder / name).read_bytes()

    def _intact(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and sha256(path) == self.files[name][1]


@dataclass(frozen=True)
class WebRuntime:
    """What runs a backend's bundles in a browser.

    Attributes:
        title: as people call it.
        packages: of npm; the first gives the version.
        imports: bare imports in its files, and what they become: import maps do not apply in workers.
        served: the model as the runtime takes it, for a batch; BadInputError where it cannot.
    """

    title: str
    packages: tuple[Package, ...]
    imports: Mapping[str, str] = field(default_factory=dict)
    served: Callable[[bytes, int], bytes] = lambda model, batch: model

    @property
    def version(self) -> str:
        """Of the runtime."""
        return self.packages[0].version

    @property
    def installed(self) -> bool:
        """Whether its files are here."""
        return all(package.installed for package in self.packages)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of all that a browser may ask for; errors as in `Package.read`."""
        for package in self.packages:
            for name in package.files:
                content = package.read(name)
                for bare, file in self.imports.items() if name.endswith(".mjs") else ():
                    content = content.replace(f'"{bare}"'.encode(), f'"./{file}"'.encode())
                yield name, content


def web_backends() -> list[str]:
    """Names of the backends that run in a browser."""
    return [name for name in backend_names() if importlib.util.find_spec(f"{source_of(name)}.web")]


def find_web(backend: str) -> WebRuntime:
    """What runs a backend's bundles in a browser; BadInputError where nothing does."""
    known = web_backends()
    if backend not in known:
        raise BadInputError(f"{backend} does not run in a browser: {' and '.join(known)} do")
    runtime: WebRuntime = importlib.import_module(f"{source_of(backend)}.web").WEB
    return runtime


def adapter(backend: str) -> bytes:
    """The backend's own module that the page's worker imports."""
    source = importlib.import_module(f"{source_of(backend)}.web").__file__
    return Path(str(source)).with_suffix(".mjs").read_bytes()
