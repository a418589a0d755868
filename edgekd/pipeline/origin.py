"""What made a number: the commit of edgekd's checkout, the libraries' versions, the machine."""

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import edgekd
from edgekd.plugins import names
from edgekd.runtimes import backend_names, find_needs
from edgekd.schema import Schema

_CPUS = Path("/proc/cpuinfo")


class Origin(Schema):
    """Where a stage ran: `commit` is None for an installed wheel, `dirty` says that its files were not the commit's."""

    commit: str | None
    dirty: bool
    machine: str


@cache
def origin() -> Origin:
    """Return what this process is."""
    folder = Path(edgekd.__path__[0])
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return Origin(commit=None, dirty=False, machine=_machine())
    return Origin(
        commit=_git(folder, "rev-parse", "HEAD"),
        dirty=bool(_git(folder, "status", "--porcelain", ".")),
        machine=_machine(),
    )


def versions() -> dict[str, str]:
    """Return what computed the numbers, by distribution, as it is installed."""
    found = {name: _version(name) for name in ("edgekd", *_libraries().values(), "numpy")}
    return {"python": platform.python_version()} | {name: number for name, number in found.items() if number}


def library_versions(modules: Iterable[str]) -> dict[str, str]:
    """Return the versions, without build suffix, of those libraries of which `modules` are imported."""
    known = _libraries()
    found = {known[module]: _version(known[module]) for module in sorted(modules) if module in known}
    return {name: number.partition("+")[0] for name, number in found.items() if number}


def _libraries() -> dict[str, str]:
    """The distributions that compute numbers, by the module that is imported of them."""
    components = [component for name in backend_names() for component in find_needs(name).components]
    models = {name: name for name in names("edgekd.model_libraries")}
    return {"torch": "torch", "onnx": "onnx"} | models | {one.module: one.distribution for one in components}


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _machine() -> str:
    lines = _CPUS.read_text(encoding="utf-8").splitlines() if _CPUS.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or 'unknown processor'}, {platform.machine()}"
