"""Real bundles of a small random network, made once in a process."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends import find_backend
from edgekd.backends.assemble import described_outputs
from edgekd.bundle import Manifest, identify
from edgekd.target import Target
from tests import factories

BACKENDS = ("onnxruntime", "openvino", "tflite")
Array = np.ndarray[Any, Any]
MakeBundle = Callable[..., Path]
_MADE: dict[tuple[str, str], Path] = {}


def make_bundle(folder: Path, backend: str, precision: str = "int8") -> Path:
    """A bundle of a ResNet-8-like network with 16 golden samples, float inputs and outputs."""
    folder.mkdir(parents=True)
    target = Target(name="t", title="t", backend=backend, scheme="int8-asymmetric")
    model = network(precision)
    compiled = find_backend(backend).compile(model, target, folder, precision)
    x = factories.inputs_for(model, 16)
    arrays = {"input:input": laid_out(x, compiled.inputs[0].layout)}
    expected = factories.reference(model, x)
    arrays |= {f"output:{name}": value for name, value in expected.items()}
    np.savez(folder / "golden.npz", **arrays)
    manifest = Manifest(
        name="net",
        target="t",
        backend=backend,
        scheme="int8-asymmetric",
        precision=precision,
        batch=1,
        threads=1,
        model=compiled.model,
        inputs=compiled.inputs,
        outputs=described_outputs(model, compiled, expected, ()),
        files=identify(folder, [*compiled.files, "golden.npz"]),
        tolerance={"max_steps": 8.0, "agreement": 0.99},  # coarse: parity has tests of its own
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


@cache
def network(precision: str) -> onnx.ModelProto:
    floating, calibration = factories.resnet(0)
    return floating if precision == "float" else factories.quantize(floating, calibration)


def laid_out(x: Array, layout: str | None) -> Array:
    return x.transpose(0, 2, 3, 1) if layout == "NHWC" else x


def golden(folder: Path, name: str) -> Array:
    with np.load(folder / "golden.npz") as archive:
        return archive[name]


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def add_listed(folder: Path, name: str, content: bytes) -> None:
    """Write a file that the manifest vouches for."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {name: identify(folder, [name])[name].model_dump()})


def rehash(folder: Path) -> None:
    """Make the manifest vouch for files as they are now."""
    names = list(json.loads((folder / "manifest.json").read_text())["files"])
    edit_manifest(folder, files={name: file.model_dump() for name, file in identify(folder, names).items()})


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """`bundle(backend, precision)`: a folder to read only; whichever modules import this fixture share it."""

    def get(backend: str, precision: str = "int8") -> Path:
        key = backend, precision
        if key not in _MADE:
            _MADE[key] = make_bundle(tmp_path_factory.mktemp("bundles") / "-".join(key), backend, precision)
        return _MADE[key]

    return get


@pytest.fixture
def own_bundle(bundle: MakeBundle, tmp_path: Path) -> Path:
    """An ONNX Runtime bundle to damage."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle("onnxruntime"), folder)
    return folder
