"""Compiles a model and runs it in ncnn by the runtime that leaves with bundles, in this process."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.backends.ncnn.compile import MODEL, WEIGHTS
from edgekd.backends.ncnn.compile import compile as compile_ncnn
from edgekd.backends.ncnn.runtime import Layer, Ncnn, read_param
from edgekd.target import load_target
from tests import factories
from tests.factories import Net

Array = np.ndarray[Any, Any]
TARGET = load_target("x86-ncnn")


@cache
def network(name: str) -> onnx.ModelProto:
    """A whole network as int8-symmetric QDQ, to read only."""
    return factories.quantize(*factories.WHOLE_NETS[name](0), symmetric=True)


@dataclass(frozen=True)
class Built:
    """Both files' content and what the backend says of them."""

    text: str
    content: bytes
    compiled: Compiled

    @property
    def layers(self) -> list[Layer]:
        """The lines of the .param file."""
        with tempfile.TemporaryDirectory() as folder:
            return read_param(self.write(Path(folder)))

    @property
    def kinds(self) -> list[str]:
        """The layers' kinds, in order."""
        return [layer.kind for layer in self.layers]

    def write(self, folder: Path) -> Path:
        """Both files in a folder; the .param one's path."""
        (folder / MODEL).write_text(self.text)
        (folder / WEIGHTS).write_bytes(self.content)
        return folder / MODEL

    def run(self, x: Array) -> dict[str, Array]:
        """Outputs by name, as many samples at once as `x` has."""
        with tempfile.TemporaryDirectory() as folder:
            runtime = self.loaded(Path(folder), len(x))
        runtime.feed([x])
        runtime.step()
        return dict(zip([spec.name for spec in self.compiled.outputs], runtime.fetch(), strict=True))

    def loaded(self, folder: Path, batch: int) -> Ncnn:
        """The runtime, for a bundle as far as it looks into one."""
        inputs, outputs = (
            [spec.model_dump() for spec in specs] for specs in (self.compiled.inputs, self.compiled.outputs)
        )
        bundle: Any = SimpleNamespace(
            model=self.write(folder), manifest={"model": MODEL}, inputs=inputs, outputs=outputs, listed=folder.joinpath
        )
        runtime = Ncnn({})
        runtime.load(bundle, batch, 1)
        return runtime


def build(model: onnx.ModelProto, precision: Precision = "int8") -> Built:
    """Compile for this machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = compile_ncnn(model, TARGET, folder, precision)
        return Built((folder / MODEL).read_text(), (folder / WEIGHTS).read_bytes(), compiled)


def agrees(net: Net, *outputs: str) -> Built:
    """The float network in ncnn, once it answers as ONNX Runtime does: to 1e-5 of the range, for the order of sums."""
    model, x = net.model(*outputs, names=tuple(f"y{index}" for index in range(len(outputs)))), net.inputs(3)
    built, truth = build(model, "float"), factories.reference(model, x)
    for name, found in built.run(x).items():
        assert found.shape == truth[name].shape
        assert np.abs(found - truth[name]).max() <= 1e-5 * max(np.abs(truth[name]).max(), 1.0)
    return built
