"""The runtimes' files: npm fetches, and only what was pinned is kept; and a .tflite's free batch is fixed in place."""

import hashlib
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgekd.backends.tflite.web import fixed_batch
from edgekd.errors import BadInputError
from edgekd.web.install import install
from edgekd.web.runtimes import Package, find_web, web_backends
from tests.measure.bundles import MakeBundle, golden

CONTENT = b"export const answer = 42;"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Package:
    """A package, an empty cache, and an npm that packs CONTENT."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with tarfile.open(tmp_path / "packed", "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/index.js")
        member.size = len(CONTENT)
        archive.addfile(member, BytesIO(CONTENT))
    npm = tmp_path / "npm"
    npm.write_text(
        f'#!/bin/sh\nfor folder; do [ -d "$folder" ] && /bin/cp {tmp_path}/packed "$folder/p-1.0.0.tgz"; done; exit 0\n'
    )
    npm.chmod(0o755)
    return Package("@some/package", "1.0.0", {"package.mjs": ("dist/index.js", hashlib.sha256(CONTENT).hexdigest())})


def test_the_pinned_file_is_kept_and_npm_is_asked_once(package: Package, tmp_path: Path) -> None:
    assert not package.installed
    assert install([package])[0]["state"] == "installed"
    assert package.folder == tmp_path / "cache/edgekd/web/some-package-1.0.0"
    assert package.read("package.mjs") == CONTENT
    (tmp_path / "npm").unlink()
    assert install([package])[0]["state"] == "was here"


def test_a_file_that_is_another_is_neither_kept_nor_served(package: Package, tmp_path: Path) -> None:
    other = Package(package.name, package.version, {"package.mjs": ("dist/index.js", "0" * 64)})
    with pytest.raises(BadInputError, match=r"dist/index\.js is not the file that was pinned"):
        install([other])
    assert not other.folder.exists()
    install([package])[0]
    (package.folder / "package.mjs").write_bytes(b"alert(1)")
    assert not package.installed
    with pytest.raises(BadInputError, match="missing or damaged"):
        package.read("package.mjs")


def test_without_npm_or_with_another_tarball_it_is_one_line(package: Package, tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"no tarball")
    with pytest.raises(BadInputError, match="not an npm package"):
        install([package])[0]
    (tmp_path / "npm").unlink()
    with pytest.raises(BadInputError, match="npm is not on the PATH"):
        install([package])[0]


def test_every_file_has_a_name_of_its_own_and_a_hash() -> None:
    """They are served side by side: LiteRT.js looks for its parts beside the worker."""
    packages = [package for name in web_backends() for package in find_web(name).packages]
    names = [name for package in packages for name in package.files]
    assert len(names) == len(set(names))
    assert all(len(bytes.fromhex(pinned)) == 32 for package in packages for _, pinned in package.files.values())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_free_batch_is_fixed_and_the_answers_stay(bundle: MakeBundle, batch: int) -> None:
    folder = bundle("tflite")
    content = (folder / "model.tflite").read_bytes()
    fixed = fixed_batch(content, batch)
    signatures = [tensor.shapeSignature for tensor in tensors(fixed) if tensor.shapeSignature is not None]
    assert signatures
    assert all(size > 0 for signature in signatures for size in signature)
    assert len(fixed) == len(content)
    found = Interpreter(model_content=fixed)
    found.allocate_tensors()  # nothing is resized
    x = golden(folder, "input:input")[:batch]
    expected = Interpreter(model_content=content)
    expected.resize_tensor_input(expected.get_input_details()[0]["index"], x.shape)
    expected.allocate_tensors()
    assert np.array_equal(answer(found, x), answer(expected, x))  # the same kernels on the same numbers


@pytest.mark.parametrize("cut", [0, 3, 40, 200])
def test_half_a_file_is_one_line(bundle: MakeBundle, cut: int) -> None:
    content = (bundle("tflite") / "model.tflite").read_bytes()
    with pytest.raises(BadInputError, match=r"not a \.tflite file"):
        fixed_batch(content[:cut], 1)


def tensors(content: bytes) -> list[schema.TensorT]:
    return list(schema.ModelT.InitFromObj(schema.Model.GetRootAs(content)).subgraphs[0].tensors)


def answer(interpreter: Interpreter, x: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
