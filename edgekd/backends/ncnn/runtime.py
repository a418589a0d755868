"""ncnn on the device."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.errors import RunnerError
from edgekd.runner.machine import read_text
from edgekd.runner.runtime import (
    Runtime,
    Tensors,
    counted,
    import_first,
    kernel_time,
    package_version,
    same_count,
    tensor,
)

WARM = 5
SIZES = (2, 11, 1, 0)  # keys of an Input's shape, outermost first
UNKNOWN = 3  # dimensions of an Input without a shape: channels and rows of a map
INT8_TERM, FEATURES_OFF, FP16 = 8, 31, 3  # keys, and the features of fp16
REQUANTISED = 100  # what the term of a layer that makes int8 exceeds
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")
WEIGHTS_OF = dict(dict.fromkeys(CONVOLUTIONS, 6), InnerProduct=2)  # the key of how many there are
NO_KEY = -1
RAW = 1  # extract a blob as it lies in memory


class Layer(NamedTuple):
    """A line of a .param file."""

    kind: str
    name: str
    inputs: List[str]
    outputs: List[str]
    parameters: Dict[int, str]

    def number(self, key: int) -> int:
        """An integer parameter, 0 by default."""
        return int(self.parameters.get(key, 0))


class Ncnn(Runtime):
    """ncnn on the CPU. It knows no batch: samples are inferred one after the other."""

    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 1.0, "agreement": 0.99}
    SUFFIX = ".param"
    COMPANIONS = (".bin",)
    PROFILED = "each layer's output asked for in turn, by a clock around the call: medians"
    INT8: ClassVar[Set[str]] = {"Convolution", "ConvolutionDepthWise", "InnerProduct"}
    WEIGHTED: ClassVar[Set[str]] = {
        *("Convolution1D", "ConvolutionDepthWise1D", "Convolution3D", "Deconvolution", "DeconvolutionDepthWise"),
        *("Gemm", "MatMul", "MultiHeadAttention", "SDPA"),
        *INT8,
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.module = import_first(["ncnn"], "ncnn is not installed: pip install ncnn")
        self.version = package_version("ncnn", self.module)

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """Inputs with the shapes that the file has; of outputs their names alone, which is all that it says."""
        layers = read_param(model)
        read = {blob for layer in layers for blob in layer.inputs}
        inputs = [tensor(layer.outputs[0], "float32", [None, *shape_of(layer)]) for layer in layers if is_input(layer)]
        made = [blob for layer in layers if not is_input(layer) for blob in layer.outputs if blob not in read]
        return inputs, [tensor(blob, "float32", [None]) for blob in made]

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Both files; threads count when loading."""
        self.param = bundle.model
        weights = bundle.listed(str(PurePosixPath(bundle.manifest["model"]).with_suffix(".bin")))
        self.layers = read_param(self.param)
        self.net = net = self.module.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = threads
        if net.load_param(str(self.param)) or net.load_model(str(weights)):
            raise RunnerError("failed", "ncnn cannot load the model; its log is on stderr")
        self.inputs = in_order(net.input_names(), "in", bundle.inputs)
        self.outputs = in_order(net.output_names(), "out", bundle.outputs)
        same_count(bundle, len(self.inputs), len(self.outputs))
        self.fed, self.shapes = ([spec["shape"][1:] for spec in specs] for specs in (bundle.inputs, bundle.outputs))
        self.samples: List[List[Any]] = []
        self.results: List[List[Any]] = []
        self.step = self._one if batch == 1 else self._all

    def feed(self, arrays: Arrays) -> None:
        """Copies that ncnn owns: a Mat made of an array neither keeps it alive nor minds its strides."""
        mat = self.module.Mat
        self.samples = [[mat(flat(sample)).clone() for sample in samples] for samples in zip(*arrays)]
        self.first = self.samples[0]

    def _infer(self, sample: Sequence[Any]) -> List[Any]:
        extractor = self.net.create_extractor()
        for name, blob in zip(self.inputs, sample):
            extractor.input(name, blob)
        found = [extractor.extract(name) for name in self.outputs]
        if any(code for code, _ in found):
            raise RunnerError("failed", "ncnn cannot compute the model; its log is on stderr")
        return [blob for _, blob in found]

    def _one(self) -> None:
        self.results = [self._infer(self.first)]

    def _all(self) -> None:
        self.results = [self._infer(sample) for sample in self.samples]

    def fetch(self) -> Arrays:
        """Copies, in the bundle's shapes."""
        made = [[np.array(blob, np.float32) for blob in blobs] for blobs in zip(*self.results)]
        return [np.stack([shaped(array, shape) for array in arrays]) for arrays, shape in zip(made, self.shapes)]

    def operator_coverage(self) -> Dict[str, Any]:
        """A layer is int8 by the term of its line and, if that says that it makes int8, by what it left in memory."""
        ops, bits = Counter(layer.kind for layer in self.layers), self._bits()
        asked = [layer for layer in self.layers if self._is_int8(layer)]
        int8 = sum(layer.number(INT8_TERM) < REQUANTISED or bits[layer.outputs[0]] == 8 for layer in asked)
        total = sum(layer.kind in self.WEIGHTED for layer in self.layers)
        return counted(ops, int8, total, "int8 terms of the .param file, int8 outputs seen in memory")

    def _bits(self) -> Dict[str, int]:
        """How wide the elements of each blob are, in one inference of zeros."""
        extractor, mat = self.net.create_extractor(), self.module.Mat
        for name, shape in zip(self.inputs, self.fed):
            extractor.input(name, mat(flat(np.zeros(shape))).clone())
        blobs = [layer.outputs[0] for layer in self.layers if not is_input(layer)]
        return {blob: int(extractor.extract(blob, RAW)[1].elembits()) for blob in blobs}

    def _is_int8(self, layer: Layer) -> bool:
        return layer.kind in self.INT8 and layer.number(INT8_TERM) > 0

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Of one sample: each blob asked for in turn, as it lies in memory, takes what its own layer takes."""
        self.feed([array[:1] for array in arrays])
        layers = [layer for layer in self.layers if not is_input(layer)]
        taken = [self._timed(layers) for _ in range(WARM + runs)][WARM:]
        medians = np.median(np.array(taken), axis=0) / 1e3
        return [self._kernel(layer, float(us)) for layer, us in zip(layers, medians)]

    def _timed(self, layers: Sequence[Layer]) -> List[int]:
        extractor, clock, taken = self.net.create_extractor(), time.perf_counter_ns, []
        for name, blob in zip(self.inputs, self.first):
            extractor.input(name, blob)
        for layer in layers:
            name, begin = layer.outputs[0], clock()
            extractor.extract(name, RAW)
            taken.append(clock() - begin)
        return taken

    def _kernel(self, layer: Layer, us: float) -> Dict[str, Any]:
        """What has a `:` in its name was put in between the layers of the graph."""
        int8 = "int8" if self._is_int8(layer) else "float"
        weights = layer.number(WEIGHTS_OF.get(layer.kind, NO_KEY)) or None
        return kernel_time(layer.name, None if ":" in layer.name else layer.name, layer.kind, int8, "CPU", us, weights)

    def details(self) -> Dict[str, str]:
        """float16 where the file does not forbid it and the CPU has it."""
        allowed = any(layer.number(FEATURES_OFF) & FP16 != FP16 for layer in self.layers if not is_input(layer))
        return {"precision": "f16" if allowed and "asimdhp" in read_text("/proc/cpuinfo") else "f32"}


def read_param(path: Path) -> List[Layer]:
    """The lines of a .param file; RunnerError for another one."""
    try:
        magic, _, *lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if magic != ["7767517"]:
            raise ValueError("it does not begin with 7767517")
        return [layer_of_line(line) for line in lines]
    except (ValueError, IndexError) as error:
        raise RunnerError("bad-input", "{}: no .param file of ncnn ({})".format(path, error)) from None


def layer_of_line(words: Sequence[str]) -> Layer:
    """A layer by the words of its line."""
    kind, name, inputs, outputs = words[0], words[1], int(words[2]), int(words[3])
    blobs, settings = words[4 : 4 + inputs + outputs], words[4 + inputs + outputs :]
    pairs = [setting.split("=", 1) for setting in settings]
    return Layer(kind, name, list(blobs[:inputs]), list(blobs[inputs:]), {int(key): value for key, value in pairs})


def is_input(layer: Layer) -> bool:
    """Whether it only says what the network is fed."""
    return layer.kind == "Input"


def shape_of(layer: Layer) -> List[Optional[int]]:
    """An Input's shape without a batch, outermost first; three free sizes where it does not say."""
    sizes = [layer.number(key) for key in SIZES if layer.number(key)]
    return list(sizes) if sizes else [None] * UNKNOWN


def in_order(names: Sequence[str], stem: str, specs: Sequence[Dict[str, Any]]) -> List[str]:
    """Blobs in the manifest's order: in0, in1 … of our own files, else by the manifest's names, else as they come."""
    for wanted in (["{}{}".format(stem, index) for index in range(len(names))], [spec["name"] for spec in specs]):
        if set(wanted) <= set(names):
            return wanted
    return list(names)


def shaped(array: Any, shape: Sequence[Optional[int]]) -> Any:
    """A sample's output as the manifest has it, or, of a file that does not say, as it is."""
    sizes = [size for size in shape if size is not None]
    return array.reshape(sizes) if array.size == np.prod(sizes) else array


def flat(array: Any) -> Any:
    """A sample as ncnn takes it: float32, one after the other; a single number is a vector of one."""
    return np.ascontiguousarray(array.reshape(array.shape or (1,)), np.float32)


RUNTIME = Ncnn
