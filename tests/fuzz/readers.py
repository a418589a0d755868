"""The readers under fuzz: each takes a mutated file and either says what is wrong with it or gives a correct result."""

import gzip
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
import onnx

from edgekd.backends.reference import Reference
from edgekd.bundle import MANIFEST, load_bundle
from edgekd.confined import parsing
from edgekd.data import npz
from edgekd.data.idx import read_idx
from edgekd.data.npz import map_npz, read_npz
from edgekd.data.raw import Raw
from edgekd.devices import Finished
from edgekd.devices._ssh_config import host_aliases
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.measure.protocol import parse
from edgekd.measure.records import Golden, Kernels, Load, Predictions, Start, Timing
from edgekd.measure.results import read_rows
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import read_inputs
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.uniform import uniform
from edgekd.pipeline.fleet import parse_devices
from edgekd.plugins import builtin
from edgekd.quantization.scheme import SCHEMES
from edgekd.reading import reading
from edgekd.recipe import Data, load_recipe
from edgekd.reporting.html import write_report
from edgekd.runner.bundle import Bundle
from edgekd.runner.errors import RunnerError
from edgekd.target import load_target
from tests.data.drawn import WRITERS
from tests.factories import Net, quantize
from tests.fuzz.mutate import mutate_archive, mutate_bytes, mutate_json, mutate_model
from tests.fuzz.samples import ANSWER, FLEET, RUN, SSH, TARGET
from tests.small_run import write_recipe

SAMPLES = 8


@dataclass(frozen=True)
class Reader:
    """`make` writes the real file (and what it needs) into a folder, `mutate` changes it, `read` is under test."""

    make: Callable[[Path], Path]
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[Path], None]
    confined: bool = False  # the command reads it in a process that may die


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
    with parsing(path, path.parent / "x.npz", "a model that can be imported"):
        plain = uniform(read_model(path), {})
        inputs = read_inputs(plain.model, path.parent / "x.npz", SAMPLES, plain.batch_axes)
        if holds_integers(plain.model):
            imported, inputs = import_quantized(plain.model, SCHEMES["int8-asymmetric"], inputs, {}, SAMPLES)
        else:
            imported = import_float(plain.model, inputs, {})
        outputs = Reference(imported).run(inputs)
    assert set(outputs) == {value.name for value in plain.model.graph.output}
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


def read_by_runner(path: Path) -> None:
    """By the reader that leaves with every bundle."""
    try:
        bundle = Bundle(path.parent)
        golden = [bundle.golden(kind) for kind in ("input", "output")]
    except RunnerError as error:
        raise BadInputError(str(error)) from error
    assert all(isinstance(array, np.ndarray) for arrays in golden for array in arrays)


def make_golden(folder: Path) -> Path:
    make_bundle(folder)
    return folder / "golden.npz"


def read_arrays(path: Path) -> None:
    """Arrays that come out are numbers; the zip's checksums guard their values."""
    for array in read_npz(path).values():
        assert array.dtype.kind in "biufcSUVmM"


def map_arrays(path: Path) -> None:
    """The same of arrays that stay in the file, however small."""
    with mock.patch.object(npz, "MAPPED", 1):
        for array in map_npz(path).values():
            assert array.dtype.kind in "biufcSUVmM"
            assert np.array_equal(array, array.copy())  # all of it is there


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


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


def make_recipe(folder: Path) -> Path:
    return write_recipe(folder)[0]


def make_rows(folder: Path) -> Path:
    lines = Path(__file__).parents[2].joinpath("benchmarks/results/fashion-mnist.jsonl").read_text().split("\n")
    return text("results.jsonl", "\n".join(lines[:2]))(folder)


def make_checkpoint(folder: Path) -> Path:
    from edgekd.training.checkpoint import Position, save_checkpoint

    save_checkpoint(folder, "key", Position(step=1, sums={"loss": 1.0}, history=[{"epoch": 0, "val": 0.5}]), {})
    return folder / "checkpoint.json"


def read_checkpoint(path: Path) -> None:
    from edgekd.training.checkpoint import load_checkpoint

    load_checkpoint(path.parent, "key")


def read_report(path: Path) -> None:
    assert write_report(path.parent).read_text(encoding="utf-8").startswith("<!doctype html>")


def make_images(folder: Path) -> Path:
    from PIL import Image

    for part, label in ((part, label) for part in ("train", "test") for label in "ab"):
        (folder / part / label).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 9, np.uint8)).save(folder / part / label / "x.png")
    return folder / "train" / "a" / "x.png"


def read_images(path: Path) -> None:
    folder = path.parents[2]
    assert load(Data(name="image-folder", path=str(folder))).train.inputs.dtype == np.uint8


def make_recordings(folder: Path) -> Path:
    for part, label in ((part, label) for part in ("train", "test") for label in "ab"):
        (folder / part / label).mkdir(parents=True)
        with wave.open(str(folder / part / label / "x.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 40, "NONE", ""))
            file.writeframes(bytes(range(80)))
    return folder / "train" / "a" / "x.wav"


def read_recordings(path: Path) -> None:
    assert np.isfinite(load(Data(name="audio-folder", path=str(path.parents[2]))).train.inputs).all()


def drawn(kind: str, above: int) -> Reader:
    """Images with boxes; the mutated file is so many folders below the data set's."""

    def read(path: Path) -> None:
        found = load(Data(name=kind, path=str(path.parents[above]), options={"size": [16, 16]}))
        for split in (found.train, found.test):
            boxes = split.labels[split.labels[..., 4] >= 0]
            assert (boxes[:, 2:4] > boxes[:, :2]).all()
            assert ((boxes[:, :4] >= 0) & (boxes[:, :4] <= 16)).all()

    return Reader(WRITERS[kind], mutate_json if kind == "coco" else mutate_bytes, read)


def make_csv(folder: Path) -> Path:
    rows = "a,b,label\n" + "".join(f"{n},{n / 7:.3f},{'yes' if n % 2 else 'no'}\n" for n in range(30))
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text(rows)
    return folder / "train.csv"


def read_csv(path: Path) -> None:
    assert np.isfinite(load(Data(name="csv", path=str(path.parent))).train.inputs).all()


def load(data: Data) -> Raw:
    with reading(data.path or "", "readable"):
        raw: Raw = builtin("edgekd.data", data.name, "data set").read(data)
        return raw


def make_idx(folder: Path) -> Path:
    (folder / "x.gz").write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 4, 5, 6) + bytes(120)))
    return folder / "x.gz"


def read_records(path: Path) -> None:
    """A device's answer, as the session takes it apart."""
    answer = parse(Finished(0, path.read_text(encoding="utf-8", errors="replace"), ""))
    for kind, model in RECORDS.items():
        answer.every(kind, model)


RECORDS = {
    **{"start": Start, "load": Load, "kernels": Kernels},
    **{"golden": Golden, "latency": Timing, "predictions": Predictions},
}
READERS = {
    "recipe": Reader(make_recipe, mutate_bytes, lambda path: discard(load_recipe(str(path)))),
    "target": Reader(text("t.toml", TARGET), mutate_bytes, lambda path: discard(load_target(str(path)))),
    "fleet": Reader(text("f.toml", FLEET), mutate_bytes, lambda path: discard(parse_devices(fleet=path))),
    "ssh-config": Reader(text("config", SSH), mutate_bytes, lambda path: discard(host_aliases(path))),
    "manifest-bytes": Reader(make_bundle, mutate_bytes, read_bundle),
    "manifest-values": Reader(make_bundle, mutate_json, read_bundle),
    "manifest-runner": Reader(make_bundle, mutate_json, read_by_runner),
    "records": Reader(text("records.jsonl", ANSWER), mutate_bytes, read_records),
    "results": Reader(make_rows, mutate_bytes, lambda path: discard(read_rows(path))),
    "run-bytes": Reader(text("run.json", RUN), mutate_bytes, read_report),
    "run-values": Reader(text("run.json", RUN), mutate_json, read_report),
    "checkpoint": Reader(make_checkpoint, mutate_json, read_checkpoint),
    "npz-bytes": Reader(make_golden, mutate_bytes, read_arrays),
    "npz-headers": Reader(make_golden, mutate_archive, read_arrays),
    "npz-mapped": Reader(make_golden, mutate_bytes, map_arrays),
    "idx": Reader(make_idx, mutate_bytes, lambda path: discard(read_idx(path, 3))),
    "csv": Reader(make_csv, mutate_bytes, read_csv),
    "images": Reader(make_images, mutate_bytes, read_images),
    "recordings": Reader(make_recordings, mutate_bytes, read_recordings),
    "coco": drawn("coco", 0),
    "voc": drawn("voc", 1),
    "yolo": drawn("yolo", 2),
    "weights-safetensors": Reader(make_safetensors, mutate_bytes, read_weights),
    "weights-pth": Reader(make_pth, mutate_archive, read_weights),
    "onnx-float-bytes": Reader(make_float, mutate_bytes, read_onnx, confined=True),
    "onnx-float-fields": Reader(make_float, mutate_model, read_onnx, confined=True),
    "onnx-qdq-bytes": Reader(make_qdq, mutate_bytes, read_onnx, confined=True),
    "onnx-qdq-fields": Reader(make_qdq, mutate_model, read_onnx, confined=True),
}


def discard(found: object) -> None:
    assert found is not None
