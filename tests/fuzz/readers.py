"""The readers under fuzz: each takes a mutated file and either says what is wrong with it or gives a correct result."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import onnx

from edgekd.backends.reference import Reference
from edgekd.bundle import MANIFEST, load_bundle
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import read_inputs
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.onnx_import.read import read_model
from edgekd.quantization.scheme import SCHEMES
from tests.factories import Net, quantize
from tests.fuzz.mutate import mutate_archive, mutate_bytes, mutate_json, mutate_model

SAMPLES = 8


@dataclass(frozen=True)
class Reader:
    """`make` writes the real file (and what it needs) into a folder, `mutate` changes it, `read` is under test."""

    make: Callable[[Path], Path]
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[Path], None]


def _net() -> Net:
    return Net(0, (2, 6, 6))


def _model() -> onnx.ModelProto:
    net = _net()
    x = net.relu(net.conv("input", 2, 4))
    x = net.op("Add", net.conv(x, 4, 4), x)
    x = net.op("Reshape", net.op("GlobalAveragePool", x), net.constant([-1, 4], np.int64))
    return net.model(net.gemm(x, 4, 3))


def _save_inputs(folder: Path) -> None:
    np.savez(folder / "x.npz", input=_net().inputs(SAMPLES))


def make_float(folder: Path) -> Path:
    _save_inputs(folder)
    onnx.save(_model(), folder / "model.onnx")
    return folder / "model.onnx"


def make_qdq(folder: Path) -> Path:
    _save_inputs(folder)
    onnx.save(quantize(_model(), _net().inputs(64)), folder / "model.onnx")
    return folder / "model.onnx"


def read_onnx(path: Path) -> None:
    """The whole import, as `edgekd export` does it, without a backend."""
    before = path.read_bytes()
    model = read_model(path)
    inputs = read_inputs(model, path.parent / "x.npz", SAMPLES)
    if holds_integers(model):
        imported, inputs = import_quantized(model, SCHEMES["int8-asymmetric"], inputs, {}, SAMPLES)
    else:
        imported = import_float(model, inputs, {}, slim=False)
    outputs = Reference(imported).run(inputs)
    assert set(outputs) == {value.name for value in model.graph.output}
    assert path.read_bytes() == before


def make_bundle(folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(b"model")
    np.savez(
        folder / "golden.npz", **{"input:x": np.zeros((1, 2), np.float32), "output:y": np.ones((1, 2), np.float32)}
    )
    files = {
        name: f'{{"sha256": "{sha256(folder / name)}", "bytes": {(folder / name).stat().st_size}}}'
        for name in ("model.onnx", "golden.npz")
    }
    tensor = '[{"name": "%s", "dtype": "float32", "shape": [null, 2], "layout": null, "scale": 0.5, "zero_point": 3}]'
    (folder / MANIFEST).write_text(
        '{"format": 1, "name": "m", "target": "t", "backend": "onnxruntime", "scheme": "int8-asymmetric", '
        '"precision": "int8", "batch": 1, "threads": 1, "model": "model.onnx", "tolerance": {"max_steps": 2.0}, '
        f'"inputs": {tensor % "x"}, "outputs": {tensor % "y"}, "notes": [], "provenance": {{"a": {{"b": [1]}}}}, '
        f'"files": {{"model.onnx": {files["model.onnx"]}, "golden.npz": {files["golden.npz"]}}}}}'
    )
    return folder / MANIFEST


def read_bundle(path: Path) -> None:
    """What is accepted names only files of this folder, unchanged, and finds the model among them."""
    folder = path.parent
    manifest = load_bundle(folder)
    for name, file in manifest.files.items():
        assert (folder / name).resolve().is_relative_to(folder.resolve())
        assert sha256(folder / name) == file.sha256
    assert manifest.model in manifest.files
    assert manifest.model_bytes >= 0


@cache
def runner() -> ModuleType:
    """`run.py` as a module: the reader that leaves with every bundle."""
    spec = importlib.util.spec_from_file_location("runner", Path(__file__).parents[2] / "export" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_by_runner(path: Path) -> None:
    try:
        bundle = runner().Bundle(path.parent)
        golden = [bundle.golden(kind) for kind in ("input", "output")]
    except runner().RunnerError as error:
        raise BadInputError(str(error)) from error
    assert all(isinstance(array, np.ndarray) for arrays in golden for array in arrays)


def make_golden(folder: Path) -> Path:
    make_bundle(folder)
    return folder / "golden.npz"


def read_arrays(path: Path) -> None:
    """Arrays that come out are numbers; the zip's checksums guard their values."""
    for array in read_npz(path).values():
        assert array.dtype.kind in "biufcSUVmM"


def make_safetensors(folder: Path) -> Path:
    import torch

    from edgekd.training.weights import save_tensors

    save_tensors({"a.weight": torch.ones(3, 2), "a.bias": torch.arange(3)}, folder / "w.safetensors")
    return folder / "w.safetensors"


def make_pth(folder: Path) -> Path:
    import torch

    torch.save({"a.weight": torch.ones(3, 2), "a.bias": torch.arange(3)}, folder / "w.pth")
    return folder / "w.pth"


def read_weights(path: Path) -> None:
    """Tensors by name, or nothing."""
    import torch

    from edgekd.training.state_dicts import read_state_dicts

    found = read_state_dicts(path).values()
    assert all(isinstance(value, torch.Tensor) for tensors in found for value in tensors.values())


READERS = {
    "onnx-float-bytes": Reader(make_float, mutate_bytes, read_onnx),
    "onnx-float-fields": Reader(make_float, mutate_model, read_onnx),
    "onnx-qdq-bytes": Reader(make_qdq, mutate_bytes, read_onnx),
    "onnx-qdq-fields": Reader(make_qdq, mutate_model, read_onnx),
    "manifest-bytes": Reader(make_bundle, mutate_bytes, read_bundle),
    "manifest-values": Reader(make_bundle, mutate_json, read_bundle),
    "manifest-runner": Reader(make_bundle, mutate_json, read_by_runner),
    "golden-bytes": Reader(make_golden, mutate_bytes, read_arrays),
    "golden-headers": Reader(make_golden, mutate_archive, read_arrays),
    "weights-safetensors": Reader(make_safetensors, mutate_bytes, read_weights),
    "weights-pth": Reader(make_pth, mutate_archive, read_weights),
}
