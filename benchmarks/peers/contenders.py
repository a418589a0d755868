"""Who takes part on which backend: our own ways to quantise and the peers, each ending as a bundle or a graph."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx

from edgekd.backends.reference import Reference
from edgekd.bundle import load_bundle
from edgekd.files import digest
from edgekd.quantization.calibrate import Calibration, calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from peers import bundles
from peers.bundles import Array
from peers.environment import CACHE, PEERS
from peers.students import Student

OURS = {
    "edgekd": Calibration(),
    "edgekd min-max": Calibration("minmax", correct_bias=False),
    "edgekd fine-tuned": None,
}
REFERENCE = "reference"  # accuracy alone, for TensorRT's scheme: no engine runs here
BATCH = 64


def contenders(backend: str) -> list[str]:
    """Ours first."""
    ours = [name for name, how in OURS.items() if how or backend != REFERENCE]
    return ours + [name for name, peer in PEERS.items() if backend in peer.backends]


@cache
def graph(student: Student, draw: int, scheme: str, name: str) -> onnx.ModelProto | None:
    """The QDQ graph of a contender; None if there is none."""
    given = student.give(draw, CACHE / "students")
    if name not in OURS:
        path = PEERS[name].make(given)
        return onnx.load(path) if path.suffix == ".onnx" else None
    how = OURS[name]
    if how is None:
        return student.tuned(draw)
    samples = np.load(given / "calibration.npy")
    batches = [{"input": samples[start : start + BATCH]} for start in range(0, len(samples), BATCH)]
    return calibrate(onnx.load(given / "model.onnx"), find_scheme(scheme), batches, how=how)


def scheme_of(backend: str) -> str:
    """The scheme that ours are quantised for."""
    return load_target("jetson-orin-nano" if backend == REFERENCE else f"x86-{backend}").scheme


@cache
def bundle(student: Student, draw: int, backend: str, name: str) -> Path:
    """A contender's bundle, written anew."""
    folder = CACHE / "bundles" / f"{student.name}-{draw}-{backend}-{name.replace(' ', '-')}"
    samples = student.tests()
    if name in OURS:
        model = graph(student, draw, scheme_of(backend), name)
        assert model is not None
        bundles.write(model, backend, folder, samples)
    else:
        template = CACHE / "bundles" / f"{student.name}-{draw}-{backend}-edgekd"
        bundles.adopt(PEERS[name].make(student.give(draw, CACHE / "students")), backend, template, folder, samples)
    return folder


def identity(student: Student, draw: int, backend: str, name: str) -> str:
    """What a contender's results depend on: the model's bytes, or what a peer is given and does with it."""
    if name in PEERS:
        return PEERS[name].key(student.give(draw, CACHE / "students"))
    if backend != REFERENCE:
        return digest([file.sha256 for file in load_bundle(bundle(student, draw, backend, name)).model_files.values()])
    model = graph(student, draw, scheme_of(backend), name)
    assert model is not None
    return digest([model.SerializeToString(deterministic=True).hex()])


def truth(student: Student, draw: int, backend: str, name: str, folder: Path, samples: Array) -> Array | None:
    """What a contender's own reference answers; None where it has none that runs."""
    model = graph(student, draw, scheme_of(backend), name)
    if model is not None:
        return next(iter(Reference(model).run({"input": samples}, batch=1).values()))
    return bundles.answers(folder, samples, {"resolver": "ref"}) if backend == "tflite" else None
