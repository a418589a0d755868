"""The bundle: a manifest, and files that match their hashes."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from edgekd.runner.errors import RunnerError, first_line

FORMAT = 1
GOLDEN = "golden.npz"
MANIFEST = "manifest.json"
Arrays = List["np.ndarray[Any, Any]"]
Shape = Tuple[int, ...]


class Bundle:
    """A manifest whose files exist, match their hashes and lie inside the folder.

    Beside them only what a runtime kept there itself may lie: names that match `kept`.
    """

    def __init__(self, folder: Path, kept: Optional[str] = None) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        for name, identity in self.manifest["files"].items():
            _check_file(folder, name, identity)
        _check_nothing_else(folder, self.manifest, kept)
        self.model = self.listed(self.manifest["model"])
        self.inputs: List[Dict[str, Any]] = self.manifest["inputs"]
        self.outputs: List[Dict[str, Any]] = self.manifest["outputs"]

    def listed(self, name: str) -> Path:
        """Path of a file that the manifest vouches for."""
        if name not in self.manifest["files"]:
            raise RunnerError("bad-input", "manifest.json lists no hash for {!r}".format(name))
        return self.folder / name

    def sha256(self, name: str) -> str:
        """The hash that `name` was checked against."""
        return str(self.manifest["files"][name]["sha256"])

    def golden(self, kind: str) -> Arrays:
        """The recorded arrays of all inputs or outputs (`kind` is "input" or "output"), samples first."""
        specs = self.inputs if kind == "input" else self.outputs
        arrays = read_arrays(self.listed(GOLDEN), ["{}:{}".format(kind, spec["name"]) for spec in specs])
        return [conforming(array, spec) for array, spec in zip(arrays, specs)]


def _read_manifest(folder: Path) -> Dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise RunnerError("bad-input", "{}: not a bundle (no manifest.json)".format(folder)) from None
    except ValueError as error:
        raise RunnerError("bad-input", "{}: not valid JSON: {}".format(path, error)) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RunnerError("bad-input", "{}: this runner reads bundle format {}".format(path, FORMAT))
    kinds = {"name": str, "backend": str, "precision": str, "batch": int, "threads": int, "model": str}
    kinds.update(inputs=list, outputs=list, files=dict)
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise RunnerError("bad-input", "{}: {!r} is missing or not a {}".format(path, key, kind.__name__))
    for spec in manifest["inputs"] + manifest["outputs"]:
        named = isinstance(spec, dict) and {"name", "dtype", "shape"} <= set(spec)
        if not (named and isinstance(spec["shape"], list) and spec["shape"]):
            raise RunnerError("bad-input", "{}: a tensor needs a name, a dtype and a shape".format(path))
        for key in ("scale", "step", "noise"):
            value = spec.get(key)
            if value is not None and not (amount(value) and (value or key == "noise")):
                told = "{}: {!r} of {!r} is {}, no number above zero"
                raise RunnerError("bad-input", told.format(path, key, spec["name"], value))
    return manifest


def amount(value: Any) -> bool:
    """Whether a JSON value is a finite number, and not negative."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _check_file(folder: Path, name: str, identity: Any) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts:
        raise RunnerError("bad-input", "manifest.json: path {!r} leaves the bundle".format(name))
    path = folder / name
    if not path.is_file():
        raise RunnerError("bad-input", "{} is missing".format(path))
    if folder.resolve() not in path.resolve().parents:
        raise RunnerError("bad-input", "{} is a link that leaves the bundle".format(path))
    if not isinstance(identity, dict) or sha256(path) != identity.get("sha256"):
        raise RunnerError("bad-input", "{} does not match its sha256 in manifest.json".format(path))


def _check_nothing_else(folder: Path, manifest: Dict[str, Any], kept: Optional[str]) -> None:
    """Refuse what the manifest does not vouch for: a runtime, or Python, might load it."""
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        built = kept is not None and re.fullmatch(kept, name) and not path.is_symlink()
        if name != MANIFEST and name not in manifest["files"] and not built:
            raise RunnerError("bad-input", "{}: {} is not listed in {}".format(folder, name, MANIFEST))


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_arrays(path: Path, names: Sequence[str]) -> Arrays:
    """Arrays of an .npz by name; pickled objects are refused."""
    try:
        with np.load(str(path), allow_pickle=False) as archive:
            return [np.ascontiguousarray(archive[name]) for name in names]
    except KeyError as error:
        raise RunnerError("bad-input", "{}: {}".format(path, error.args[0])) from None
    except Exception as error:  # numpy and zipfile raise a dozen types for a damaged archive
        raise RunnerError("bad-input", "{}: not a readable .npz ({})".format(path, first_line(error))) from None


def write_arrays(path: Path, named: Mapping[str, Any]) -> None:
    """Write arrays of any names as an .npz; `np.savez` takes those called `file` and `allow_pickle` for its options."""
    with zipfile.ZipFile(str(path), "w") as archive:
        for name, array in named.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def conforming(array: Any, spec: Dict[str, Any]) -> Any:
    """The array itself, once its type and shape are those of the tensor."""
    expected = [None, *spec["shape"][1:]]
    fits = array.ndim == len(expected) and all(e in (None, n) for e, n in zip(expected, array.shape))
    if str(array.dtype) != spec["dtype"] or not fits or not len(array):
        found = "{} {}".format(array.dtype, list(array.shape))
        wanted = "{} {}".format(spec["dtype"], ["batch", *expected[1:]])
        raise RunnerError("bad-input", "{!r} is {}, the bundle wants {}".format(spec["name"], found, wanted))
    return array


def batched(spec: Dict[str, Any], batch: int) -> Shape:
    """A tensor's shape for a batch."""
    return (batch, *spec["shape"][1:])
