#!/usr/bin/env python3
# ruff: noqa: B905 (zip has no `strict` before Python 3.10)
"""Run an edgekd bundle on this device: build it, verify it, time it, predict with it.

    python run.py build   [BUNDLE]                                  load or compile the model; count its int8 kernels
    python run.py verify  [BUNDLE]                                  golden inputs against the reference's outputs
    python run.py bench   [BUNDLE] --seconds 1 --count 50           latency, every sample kept (microcontroller: bytes)
    python run.py bench   [BUNDLE] --scenario offline --batch 8     throughput of back-to-back batches, on all cores
    python run.py predict [BUNDLE] --input in.npz --output out.npz  arrays by tensor name, in the bundle's own layout

BUNDLE is the folder of this file unless given. Needs Python >= 3.8, numpy and the bundle's runtime. Prints one JSON
record per line, the last of which is `end`. Exit: 0 ok, 1 mismatch, 2 bad input, 3 runtime missing or failed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import importlib
import json
import mmap
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Callable, ClassVar, Dict, Iterator, List, NoReturn, Optional, Sequence, Set, TextIO, Tuple, Type

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]
try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

FORMAT = 1
GOLDEN = "golden.npz"
EXIT_CODES = {"mismatch": 1, "bad-input": 2, "missing-runtime": 3, "failed": 3}
STEP_LIMITS = ("max_steps", "p999_steps")
STEP_SLACK = 1e-3  # two steps apart in float32 may read 2.0000002
DEFAULT_TOLERANCE = {"max_steps": 2.0, "agreement": 0.99}
CPU_CLOCK_NS = 1_000_000  # the CPU clock is a system call of a microsecond: read it once per millisecond
CLEAR_MARGIN_STEPS = 4.0  # an argmax counts only where the reference's two best are further apart than this
INDEPENDENT = 1.6  # drift that roundings explain: sqrt(2) where two have nothing in common, and what chance adds

SATURATING = ("onnxruntime", "openvino")  # without VNNI they multiply by vpmaddubsw, which sums pairs in int16
VNNI = {"avx512_vnni", "avx_vnni"}

Arrays = List["np.ndarray[Any, Any]"]
Shape = Tuple[int, ...]
Options = Dict[str, Optional[Tuple[str, ...]]]


class RunnerError(Exception):
    """An expected failure: `kind` decides the exit code, the message is one line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# ---------------------------------------------------------------------------------------------------------- the bundle


class Bundle:
    """A manifest whose files exist, match their hashes and lie inside the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        for name, identity in self.manifest["files"].items():
            _check_file(folder, name, identity)
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
    path = folder / "manifest.json"
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
    return manifest


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


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def contains(path: Path, words: bytes) -> bool:
    """Whether a file holds some bytes; it is read in parts, as its memory would count as the model's."""
    end = b""
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 16), b""):
            if words in end + block:
                return True
            end = block[-len(words) :]
    return False


def read_arrays(path: Path, names: Sequence[str]) -> Arrays:
    """Arrays of an .npz by name; pickled objects are refused."""
    try:
        with np.load(str(path), allow_pickle=False) as archive:
            return [np.ascontiguousarray(archive[name]) for name in names]
    except KeyError as error:
        raise RunnerError("bad-input", "{}: {}".format(path, error.args[0])) from None
    except Exception as error:  # numpy and zipfile raise a dozen types for a damaged archive
        raise RunnerError("bad-input", "{}: not a readable .npz ({})".format(path, first_line(error))) from None


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


# -------------------------------------------------------------------------------------------------------- the runtimes


class Runtime:
    """What the verbs need of an inference engine.

    `step` is one inference on the inputs last fed: it is the call that gets timed, so it stays a bare bound method.
    `OPTIONS` maps each runtime option to its legal values (None: any), of which the first is the default.
    """

    OPTIONS: ClassVar[Options] = {}
    offline = False  # whether to load for throughput
    step: Callable[[], Any]
    version: str

    def __init__(self, options: Dict[str, str]) -> None:
        self.options = options

    def option(self, key: str, default: str = "") -> str:
        """An option's value, or its default."""
        legal = self.OPTIONS[key]
        return self.options.get(key, legal[0] if legal else default)

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Make the model ready to run."""
        raise NotImplementedError

    def feed(self, arrays: Arrays) -> None:
        """Set the inputs, in manifest order."""
        raise NotImplementedError

    def fetch(self) -> Arrays:
        """Copies of the outputs of the last step, in manifest order."""
        raise NotImplementedError

    def stream(self, arrays: Arrays, more: Callable[[List[int]], bool]) -> Tuple[List[int], int]:
        """Infer back to back while `more(ends)`: ns at the begin and as each batch ended, and how many run at once."""
        self.feed(arrays)
        ends = [time.perf_counter_ns()]
        while more(ends):
            self.step()
            ends.append(time.perf_counter_ns())
        return ends, 1

    def census(self) -> Dict[str, Any]:
        """How many of the convolution- and matmul-like kernels run in int8."""
        raise NotImplementedError

    def details(self) -> Dict[str, str]:
        """What the runtime chose by itself, such as the precision of its float arithmetic."""
        return {}

    def footprint(self) -> Optional[Dict[str, int]]:
        """Bytes that the model takes of its device, where this host only stands in for it; None: it is the device."""
        return None


def import_first(names: Sequence[str], advice: str) -> Any:
    """The first importable module; RunnerError(missing-runtime) otherwise."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = first_line(error)
    raise RunnerError("missing-runtime", "{} ({})".format(advice, reason))


def counted(ops: Dict[str, int], int8: int, total: int, how: str) -> Dict[str, Any]:
    """The fields of a `kernels` record."""
    return {"int8": int8, "total": total, "how": how, "ops": dict(sorted(ops.items()))}


class LiteRT(Runtime):
    """TensorFlow Lite flatbuffers through LiteRT, or through the older tflite-runtime.

    `delegate` may also be a delegate's shared library; what that leaves, and `xnnpack` leaves, is LiteRT's own.
    """

    OPTIONS: ClassVar[Options] = {"delegate": None, "resolver": ("builtin", "ref")}
    DELEGATES = ("xnnpack", "none", "gpu", "nnapi")
    WEIGHTED: ClassVar[Set[str]] = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"}

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.delegate = self.option("delegate", "xnnpack")
        if self.delegate not in self.DELEGATES and ".so" not in self.delegate:
            expected = "expected {} or a delegate's library, some.so".format(", ".join(self.DELEGATES))
            raise RunnerError("bad-input", "delegate={}: {}".format(self.delegate, expected))
        names = ("ai_edge_litert", "tflite_runtime")
        self.module = import_first(
            [name + ".interpreter" for name in names], "LiteRT is not installed: pip install ai-edge-litert"
        )
        self.package = self.module.__name__.partition(".")[0]
        self.version = package_version(self.package, importlib.import_module(self.package))

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Allocate the interpreter, resized to the batch where it differs."""
        external = [] if self.delegate in self.DELEGATES[:2] else [self._library()]
        self.interpreter = self.module.Interpreter(
            model_path=str(bundle.model), num_threads=threads,
            experimental_op_resolver_type=self._resolver(), experimental_delegates=external,
        )  # fmt: skip
        foreign = self.nodes() if external else None  # XNNPACK takes of the rest what it can, but only when allocating
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        same_count(bundle, len(inputs), len(outputs))
        for spec, detail in zip(bundle.inputs, inputs):
            if tuple(detail["shape"]) != batched(spec, batch):
                self.interpreter.resize_tensor_input(detail["index"], batched(spec, batch))
        self.interpreter.allocate_tensors()
        self.taken: Optional[int] = delegated(foreign or self.nodes())
        self.path = bundle.model
        self.inputs = [detail["index"] for detail in inputs]
        self.outputs = [detail["index"] for detail in outputs]
        self.step = self.interpreter.invoke

    def _resolver(self) -> Any:
        kinds = self.module.OpResolverType
        if self.option("resolver") == "ref":
            return kinds.BUILTIN_REF
        return kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if self.delegate == "none" else kinds.AUTO

    def _library(self) -> Any:
        if self.delegate == "nnapi":
            advice = "LiteRT for Python has no NNAPI: name a delegate's library, delegate=/path/to/some.so"
            raise RunnerError("missing-runtime", advice)
        advice = "delegate={}: no such delegate here: install it, or choose delegate=xnnpack".format(self.delegate)
        if not hasattr(load_library([self.delegate], advice), "tflite_plugin_create_delegate"):
            raise RunnerError("missing-runtime", advice)
        return self.module.load_delegate(self.delegate)

    def feed(self, arrays: Arrays) -> None:
        """Copy into the interpreter's own tensors."""
        for index, array in zip(self.inputs, arrays):
            self.interpreter.set_tensor(index, array)

    def fetch(self) -> Arrays:
        """Copy out of the interpreter."""
        return [self.interpreter.get_tensor(index) for index in self.outputs]

    def nodes(self) -> List[Dict[str, Any]]:
        """The operators of the model, and one more, `DELEGATE`, for each part that a delegate took."""
        return list(self.interpreter._get_ops_details())

    def census(self) -> Dict[str, Any]:
        """An op is int8 when its input and its output are; `fallback` ops were left by the delegate."""
        types = {detail["index"]: np.dtype(detail["dtype"]).name for detail in self.interpreter.get_tensor_details()}
        nodes = self.nodes()
        weighted = [node for node in nodes if node["op_name"] in self.WEIGHTED]
        int8 = sum(types.get(n["inputs"][0]) == types.get(n["outputs"][0]) == "int8" for n in weighted)
        ops = Counter(str(node["op_name"]) for node in nodes)
        kernels = counted(ops, int8, len(weighted), "tensor types of the interpreter's nodes")
        left = None if self.taken is None else len(nodes) - ops["DELEGATE"] - self.taken
        return dict(kernels, delegated=self.taken, fallback=left)

    def details(self) -> Dict[str, str]:
        """The package that was found, what its delegate took, and the precision of float arithmetic."""
        total = sum(node["op_name"] != "DELEGATE" for node in self.nodes())
        told = "unknown" if self.taken is None else "{} of {}".format(self.taken, total)
        return {
            "package": self.package,
            "delegate": PurePosixPath(self.delegate).name,  # not whose folder it lies in: results are published
            "delegated": told,
            "precision": self.precision(),
        }

    def precision(self) -> str:
        """XNNPACK takes float16 only where the model allows it and the CPU has it."""
        if self.delegate not in self.DELEGATES[:2]:
            return "the delegate's"
        able = self.delegate == "xnnpack" and "asimdhp" in read_text("/proc/cpuinfo")
        return "f16" if able and contains(self.path, b"reduced_precision_support") else "f32"


def delegated(nodes: Sequence[Dict[str, Any]]) -> int:
    """How many nodes delegates took: what leads from a `DELEGATE`'s inputs to its outputs."""
    makers = {tensor: node for node in nodes if node["op_name"] != "DELEGATE" for tensor in node["outputs"]}
    taken: Set[int] = set()
    for part in nodes:
        wanted, given = list(part["outputs"]), set(part["inputs"])
        while part["op_name"] == "DELEGATE" and wanted:
            tensor = wanted.pop()
            if tensor in makers and tensor not in given and makers[tensor]["index"] not in taken:
                taken.add(makers[tensor]["index"])
                wanted += list(makers[tensor]["inputs"])
    return len(taken)


class LiteRTGpu(LiteRT):
    """LiteRT's own GPU accelerator. Float arithmetic is held to f32 unless `precision=default`, which may pick f16."""

    OPTIONS: ClassVar[Options] = {"delegate": None, "precision": ("f32", "default")}

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Compile for the GPU alone or, where that has not all operators, for the CPU besides."""
        if self.package != "ai_edge_litert":
            raise RunnerError("missing-runtime", "delegate=gpu needs LiteRT itself: pip install ai-edge-litert")
        advice = "this LiteRT has no GPU accelerator: pip install --upgrade ai-edge-litert"
        self.compiled = import_first(["ai_edge_litert.compiled_model"], advice)
        kinds, self.threads = self.compiled.HardwareAccelerator, threads
        self.model, alone = self._compile(bundle, kinds.GPU), True
        if self.model is None or not self.model.is_fully_accelerated():
            self.model, alone = self._compile(bundle, kinds.GPU | kinds.CPU), False
        if self.model is None:
            raise RunnerError("failed", "LiteRT cannot compile the model for this GPU; its log is on stderr")
        self.interpreter = self.module.Interpreter(model_path=str(bundle.model))  # for its list of operators
        self.taken = len(self.nodes()) if alone else None  # of two, nobody tells which took what
        self._bind(bundle, batch)

    def _compile(self, bundle: Bundle, kinds: Any) -> Any:
        options = self.compiled.Options(
            hardware_accelerators=kinds,
            cpu_options=self.compiled.CpuOptions(num_threads=self.threads),
            gpu_options=self.compiled.GpuOptions(enforce_f32=self.option("precision") == "f32"),
        )
        with c_messages() as messages:
            try:
                return self.compiled.CompiledModel.from_file(str(bundle.model), options=options)
            except RuntimeError:
                said = messages()
        print("\n".join(said), file=sys.stderr)
        if any("No adapters found" in line for line in said):
            raise RunnerError(
                "missing-runtime", "LiteRT finds no GPU here: it needs a Vulkan driver and libvulkan.so.1"
            )
        return None

    def _bind(self, bundle: Bundle, batch: int) -> None:
        """Buffers on the GPU; a step copies in and out, since the GPU works on after the call."""
        signature, tensors = next(iter(self.model.get_signature_list().items()))
        same_count(bundle, len(tensors["inputs"]), len(tensors["outputs"]))
        there = self.model.get_input_tensor_details(signature)
        for index, name in enumerate(tensors["inputs"]):
            shape = (batch, *there[name]["shape"][1:])
            if tuple(there[name]["shape"]) != shape:
                self.model.resize_input_tensor(index, shape, strict=False)
        inputs = dict(zip(tensors["inputs"], self.model.create_input_buffers(0)))
        outputs = dict(zip(tensors["outputs"], self.model.create_output_buffers(0)))
        wanted = [(outputs[spec["name"]], batched(spec, batch), np.dtype(spec["dtype"])) for spec in bundle.outputs]
        sources = [inputs[spec["name"]] for spec in bundle.inputs]

        def step() -> None:
            for buffer, array in zip(sources, self.arrays):
                buffer.write(array)
            self.model.run_by_index(0, list(inputs.values()), list(outputs.values()))
            self.results = [buffer.read(int(np.prod(shape)), dtype).reshape(shape) for buffer, shape, dtype in wanted]

        self.step = step

    def feed(self, arrays: Arrays) -> None:
        """Keep them on the host: each step copies them."""
        self.arrays = arrays

    def fetch(self) -> Arrays:
        """What the last step copied."""
        return self.results

    def census(self) -> Dict[str, Any]:
        """A GPU computes in float what the model has in int8."""
        return dict(super().census(), int8=0, how="operators of the model: LiteRT's GPU computes in float")

    def precision(self) -> str:
        """What it was held to."""
        return "f32" if self.option("precision") == "f32" else "the GPU's"


class TFLiteMicro(Runtime):
    """TFLite-Micro's interpreter with its reference kernels: a microcontroller's results, but not its time."""

    ARENA = 1 << 30  # bytes that are asked for; those that no model touches cost nothing
    TOTAL = re.compile(r"Arena allocation total (\d+) bytes")

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        advice = "TFLite-Micro is not installed: pip install --pre tflite-micro (x86-64 Linux)"
        self.module = import_first(["tflite_micro.python.tflite_micro.runtime"], advice)
        self.version = package_version("tflite_micro", importlib.import_module("tflite_micro"))

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Allocate every tensor and infer once, as some kernels check their types only then; `threads` is always 1."""
        if any(spec["shape"][0] != batch for spec in bundle.inputs):
            raise RunnerError("bad-input", "a microcontroller's model has one batch size, {} is another".format(batch))
        self.content = bundle.model.read_bytes()
        with c_messages() as messages:
            try:
                self.interpreter = self.module.Interpreter.from_bytes(self.content, arena_size=self.ARENA)
                self.feed([np.zeros(spec["shape"], spec["dtype"]) for spec in bundle.inputs])
                self.interpreter.invoke()
            except RuntimeError as error:
                reason = "; ".join(line.strip() for line in messages() if line.strip()) or first_line(error)
                raise RunnerError("bad-input", "TFLite-Micro refuses the model: {}".format(reason)) from None
        self.outputs = range(len(bundle.outputs))
        self.step = self.interpreter.invoke

    def feed(self, arrays: Arrays) -> None:
        """Copy into the arena."""
        for index, array in enumerate(arrays):
            self.interpreter.set_input(array, index)

    def fetch(self) -> Arrays:
        """Copy out of the arena."""
        return [np.array(self.interpreter.get_output(index)) for index in self.outputs]

    def census(self) -> Dict[str, Any]:
        """An op is int8 when its weights and its output are."""
        schema = self.module.schema_fb
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        model = self.module.convert_bytearray_to_object(self.content)
        graph = model.subgraphs[0]
        int8 = [tensor.type == schema.TensorType.INT8 for tensor in graph.tensors]
        nodes = [(names[model.operatorCodes[op.opcodeIndex].builtinCode], op) for op in graph.operators]
        weighted = [int8[op.inputs[1]] and int8[op.outputs[0]] for name, op in nodes if name in LiteRT.WEIGHTED]
        ops = Counter(name for name, _ in nodes)
        return counted(ops, sum(weighted), len(weighted), "tensor types of the model")

    def footprint(self) -> Optional[Dict[str, int]]:
        """RAM of the arena, as a 64-bit host counts it (pointers are twice a Cortex-M's), and flash of the model."""
        with c_messages() as messages:
            self.interpreter.print_allocations()
            total = self.TOTAL.search("\n".join(messages()))
        if total is None:
            raise RunnerError("failed", "TFLite-Micro does not tell the size of its arena")
        return {"arena_bytes": int(total.group(1)), "flash_bytes": len(self.content)}


@contextmanager
def c_messages() -> Iterator[Callable[[], List[str]]]:
    """A function that gives the lines which C code has written to stderr since."""
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)

        def lines() -> List[str]:
            kept.seek(0)
            return kept.read().decode(errors="replace").splitlines()

        try:
            yield lines
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


class OpenVINO(Runtime):
    """OpenVINO IR. Float arithmetic is held to f32 unless `precision=default`, which may pick bf16 or f16."""

    OPTIONS: ClassVar[Options] = {"precision": ("f32", "default"), "device": None}
    WEIGHTED: ClassVar[Set[str]] = {
        *("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "Gemm"),
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.module = import_first(["openvino"], "OpenVINO is not installed: pip install openvino")
        self.version = package_version("openvino", self.module)

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Compile at a fixed batch, for least latency, on the CPU in one stream, or for throughput."""
        weights = bundle.listed(str(PurePosixPath(bundle.manifest["model"]).with_suffix(".bin")))
        core = self.module.Core()
        model = core.read_model(str(bundle.model), str(weights))
        same_count(bundle, len(model.inputs), len(model.outputs))
        model.reshape({port: list(batched(spec, batch)) for port, spec in zip(model.inputs, bundle.inputs)})
        device, there = self.option("device", "CPU"), core.available_devices
        if device in ("GPU", "NPU") and not any(name.partition(".")[0] == device for name in there):
            advice = "OpenVINO finds no {} here, only {}: install its driver, and belong to the group render"
            raise RunnerError("missing-runtime", advice.format(device, ", ".join(there) or "nothing"))
        config: Dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT" if self.offline else "LATENCY"}
        if device == "CPU":  # the others refuse to be told of threads
            config.update({"INFERENCE_NUM_THREADS": threads}, **({} if self.offline else {"NUM_STREAMS": 1}))
        if self.option("precision") == "f32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        self.compiled = core.compile_model(model, device, config)
        self.request = self.compiled.create_infer_request()
        infer = self.request.infer
        self.step = lambda: infer(share_outputs=True)

    def feed(self, arrays: Arrays) -> None:
        """Fill the request's preset input tensors, so that the timed call copies nothing."""
        self._fill(self.request, arrays)

    @staticmethod
    def _fill(request: Any, arrays: Arrays) -> None:
        for index, array in enumerate(arrays):
            request.get_input_tensor(index).data[...] = array

    def stream(self, arrays: Arrays, more: Callable[[List[int]], bool]) -> Tuple[List[int], int]:
        """As many requests at once as OpenVINO holds best."""
        queue = self.module.AsyncInferQueue(self.compiled)
        for request in queue:
            self._fill(request, arrays)
        ends = [time.perf_counter_ns()]
        queue.set_callback(lambda request, data: ends.append(time.perf_counter_ns()))
        while more(ends) or len(ends) <= len(queue):
            queue.start_async()
        queue.wait_all()
        return sorted(ends), len(queue)

    def fetch(self) -> Arrays:
        """Copy the request's output tensors."""
        return [self.request.get_output_tensor(i).data.copy() for i in range(len(self.compiled.outputs))]

    def census(self) -> Dict[str, Any]:
        """Kernels by `primitiveType` (brgconv_avx512_I8): `runtimePrecision` names the input, not the arithmetic."""
        kernels = []
        for node in self.compiled.get_runtime_model().get_ordered_ops():
            facts = node.get_rt_info()
            if "layerType" in facts:
                kind, primitive = (_text(facts[key]) for key in ("layerType", "primitiveType"))
                kernels.append((kind, primitive))
        weighted = [primitive for kind, primitive in kernels if kind in self.WEIGHTED]
        int8 = sum(primitive.upper().endswith("_I8") for primitive in weighted)
        ops = Counter(kind + ":" + primitive for kind, primitive in kernels if kind in self.WEIGHTED)
        return counted(ops, int8, len(weighted), "primitiveType of the compiled model")

    def details(self) -> Dict[str, str]:
        """The precision that float operators run in, and the devices chosen."""
        precision = self.compiled.get_property("INFERENCE_PRECISION_HINT")
        devices = self.compiled.get_property("EXECUTION_DEVICES")
        return {"precision": precision.get_type_name(), "device": ",".join(devices)}


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    OPTIONS: ClassVar[Options] = {"optimize": ("all", "none")}
    INT8: ClassVar[Set[str]] = {
        *("ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat"),
        *("QGemm", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul"),
    }
    FLOAT: ClassVar[Set[str]] = {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul", "NhwcFusedConv"),
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.module = import_first(["onnxruntime"], "ONNX Runtime is not installed: pip install onnxruntime")
        self.version = package_version("onnxruntime", self.module)

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Create the session and bind its outputs to host memory."""
        self.model, self.threads = bundle.model, threads
        self.session = self._session()
        self.names = [entry.name for entry in self.session.get_inputs()]
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        same_count(bundle, len(self.names), len(self.outputs))
        self.binding = self.session.io_binding()
        for name in self.outputs:
            self.binding.bind_output(name, "cpu")
        run, binding = self.session.run_with_iobinding, self.binding
        self.step = lambda: run(binding)

    def _session(self, optimized: Optional[str] = None) -> Any:
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        levels = self.module.GraphOptimizationLevel
        everything = self.option("optimize") == "all"
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if everything else levels.ORT_DISABLE_ALL
        if optimized is not None:
            options.optimized_model_filepath = optimized
        return self.module.InferenceSession(str(self.model), options, providers=["CPUExecutionProvider"])

    def feed(self, arrays: Arrays) -> None:
        """Bind the inputs once, so that the timed call copies nothing."""
        for name, array in zip(self.names, arrays):
            self.binding.bind_ortvalue_input(name, self.module.OrtValue.ortvalue_from_numpy(array))

    def fetch(self) -> Arrays:
        """Outputs of the bound run."""
        return [np.array(output) for output in self.binding.copy_outputs_to_cpu()]

    def census(self) -> Dict[str, Any]:
        """Operators of the model that ONNX Runtime executes after its own fusions."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            self._session(str(path))
            ops = Counter(onnx_operators(path.read_bytes()))
        int8 = sum(ops[kind] for kind in self.INT8)
        return counted(ops, int8, int8 + sum(ops[kind] for kind in self.FLOAT), "operators of the optimised model")

    def details(self) -> Dict[str, str]:
        """On a CPU float32 is computed in float32, unless an option that is not ours allows bfloat16."""
        return {"precision": "f32"}


def onnx_operators(model: bytes) -> Iterator[str]:
    """Operator types of an ONNX file's top graph: ModelProto.graph (7) . node (1) . op_type (4), without protobuf."""
    for graph in _fields(model, 7):
        for node in _fields(graph, 1):
            for operator in _fields(node, 4):
                yield bytes(operator).decode()


def _fields(message: Any, wanted: int) -> Iterator[Any]:
    """Length-delimited fields with a number, in a protobuf message."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _varint(view, at)
        elif wire == 2:
            size, at = _varint(view, at)
            if number == wanted:
                yield view[at : at + size]
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("protobuf wire type {}".format(wire))


def _varint(view: Any, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class TensorRT(Runtime):
    """TensorRT 10 or 11. The engine is built on the device and kept beside the model with what it was built from."""

    OPTIONS: ClassVar[Options] = {"workspace_mb": None}
    WEIGHTED = ("conv", "gemm", "matmul", "matrixmultiply", "correlation")

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.cuda = Cuda()  # first: TensorRT may crash the process where there is no driver
        self.module = import_first(["tensorrt"], "TensorRT is not installed: it comes with JetPack or from NVIDIA")
        self.version = package_version("tensorrt", self.module)
        self.logger = self.module.Logger(self.module.Logger.WARNING)

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Reuse or build the engine, then bind device memory; `threads` does not apply to a GPU."""
        shapes = {spec["name"]: batched(spec, batch) for spec in bundle.inputs}
        plan = self._plan(bundle, engine_batches(bundle.manifest, batch))
        self.runtime = self.module.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RunnerError("failed", "TensorRT could not load its engine; its log is on stderr")
        self.context = self.engine.create_execution_context()
        same_count(bundle, *self._count())
        for name, shape in shapes.items():
            if not self.context.set_input_shape(name, shape):
                raise RunnerError("failed", "TensorRT refuses {} for input {!r}".format(shape, name))
        self.cuda_stream = self.cuda.stream()
        self.inputs = [self._bind(spec) for spec in bundle.inputs]
        self.outputs = [self._bind(spec) for spec in bundle.outputs]
        self.step = self._step

    def _count(self) -> Tuple[int, int]:
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        inputs = sum(self.engine.get_tensor_mode(name) == self.module.TensorIOMode.INPUT for name in names)
        return inputs, len(names) - inputs

    def _bind(self, spec: Dict[str, Any]) -> Mirror:
        mirror = Mirror(self.cuda, tuple(self.context.get_tensor_shape(spec["name"])), spec["dtype"])
        if not self.context.set_tensor_address(spec["name"], mirror.address):
            raise RunnerError("failed", "TensorRT has no tensor {!r}".format(spec["name"]))
        return mirror

    def _step(self) -> None:
        """Copy in, infer, copy out, wait: what a caller on this device waits for."""
        for mirror in self.inputs:
            mirror.upload(self.cuda_stream)
        if not self.context.execute_async_v3(self.cuda_stream):
            raise RunnerError("failed", "TensorRT could not enqueue the inference")
        for mirror in self.outputs:
            mirror.download(self.cuda_stream)
        self.cuda.call("cudaStreamSynchronize", ctypes.c_void_p(self.cuda_stream))

    def feed(self, arrays: Arrays) -> None:
        """Fill the pinned host side of the inputs."""
        for mirror, array in zip(self.inputs, arrays):
            mirror.host[...] = array

    def fetch(self) -> Arrays:
        """Copies of the pinned host side of the outputs."""
        return [mirror.host.copy() for mirror in self.outputs]

    def _plan(self, bundle: Bundle, batches: Shape) -> bytes:
        """An engine for the smallest, the best and the largest batch."""
        identity = {
            "tensorrt": self.version, "gpu": self.cuda.device_name, "options": self.options,
            "model_sha256": bundle.sha256(bundle.manifest["model"]), "batches": list(batches),
        }  # fmt: skip
        plan_path = bundle.folder / "engine" / "batch-{}.plan".format("-".join(map(str, dict.fromkeys(batches))))
        sidecar = plan_path.with_suffix(".json")
        self.origin = "kept" if kept_engine_matches(plan_path, sidecar, identity) else "built"
        if self.origin == "kept":
            return plan_path.read_bytes()
        cache_path = plan_path.with_name("timing.cache")
        kept_timings = cache_path.read_bytes() if cache_path.is_file() else b""
        shapes = {spec["name"]: [batched(spec, batch) for batch in batches] for spec in bundle.inputs}
        plan, timings = self._build(bundle.model.read_bytes(), shapes, kept_timings)
        try:
            plan_path.parent.mkdir(exist_ok=True)
            write_whole(cache_path, timings)
            write_whole(plan_path, plan)
            write_whole(sidecar, json.dumps(dict(identity, sha256=sha256(plan_path)), indent=2).encode())
        except OSError as error:
            print("the engine is not kept: {}".format(error), file=sys.stderr)
        return plan

    def _build(self, model: bytes, shapes: Dict[str, List[Shape]], kept_timings: bytes) -> Tuple[bytes, bytes]:
        """Serialized engine and timing cache. Strong typing: the precisions are those of the graph's own Q/DQ."""
        trt = self.module
        builder = trt.Builder(self.logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(model):
            reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
            raise RunnerError("failed", "TensorRT cannot parse the model: {}".format("; ".join(reasons)))
        config = self._config(builder)
        profile = builder.create_optimization_profile()
        for name, (smallest, best, largest) in shapes.items():
            profile.set_shape(name, smallest, best, largest)
        if config.add_optimization_profile(profile) < 0:
            raise RunnerError("failed", "TensorRT refuses the shapes {}; its log is on stderr".format(shapes))
        timings = config.create_timing_cache(kept_timings) or config.create_timing_cache(b"")
        config.set_timing_cache(timings, False)  # False: refuse another GPU's timings
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RunnerError("failed", "TensorRT could not build the engine; its log is on stderr")
        return bytes(plan), bytes(timings.serialize())

    def _config(self, builder: Any) -> Any:
        config = builder.create_builder_config()
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED  # the census reads layer types from it
        workspace = self.option("workspace_mb")
        if workspace:
            config.set_memory_pool_limit(self.module.MemoryPoolType.WORKSPACE, int(workspace) << 20)
        return config

    def census(self) -> Dict[str, Any]:
        """Layers of the engine whose inputs are Int8, by the engine inspector."""
        return tensorrt_census(self._layers(), self.WEIGHTED)

    def _layers(self) -> Dict[str, Any]:
        inspector = self.engine.create_engine_inspector()
        text = inspector.get_engine_information(self.module.LayerInformationFormat.JSON)
        return dict(json.loads(text))

    def details(self) -> Dict[str, str]:
        """Whether the engine was kept from an earlier run or built now, and the precision of what is not int8."""
        return {"engine": self.origin, "precision": float_precision(self._layers(), self.cuda.has_tf32)}


def engine_batches(manifest: Dict[str, Any], batch: int) -> Shape:
    """Smallest, best and largest batch of the engine that serves a batch: the manifest's profile, or that one alone."""
    profile = manifest.get("profile")
    if not profile:
        return batch, batch, batch
    try:
        smallest, best, largest = (int(profile[key]) for key in ("min", "opt", "max"))
    except (KeyError, TypeError, ValueError):
        raise RunnerError("bad-input", "manifest.json: a profile has min, opt and max") from None
    if not 0 < smallest <= best <= largest:
        raise RunnerError("bad-input", "manifest.json: the profile is not in order: {}".format(profile))
    return (smallest, best, largest) if smallest <= batch <= largest else (batch, batch, batch)


def tensorrt_census(document: Dict[str, Any], weighted: Sequence[str]) -> Dict[str, Any]:
    """Counts from the engine inspector's JSON; layers without detail (a bare name) count as nothing."""
    layers = [layer for layer in document.get("Layers", []) if isinstance(layer, dict)]
    ops = Counter(str(layer.get("LayerType", "unknown")) for layer in layers)
    heavy = [layer for layer in layers if any(w in str(layer.get("LayerType", "")).lower() for w in weighted)]
    int8 = sum("int8" in json.dumps(layer.get("Inputs", [])).lower() for layer in heavy)
    return counted(ops, int8, len(heavy), "engine inspector: type of the layers' inputs")


def float_precision(document: Dict[str, Any], has_tf32: bool) -> str:
    """What floats an engine computes in; TensorRT multiplies float32 as tf32 wherever the GPU can."""
    layers = [layer for layer in document.get("Layers", []) if isinstance(layer, dict)]
    types = json.dumps([layer.get("Outputs") for layer in layers]).lower()
    if "bf16" in types or "bfloat16" in types:
        return "bf16"
    if "fp16" in types or "half" in types:
        return "f16"
    return "tf32" if has_tf32 else "f32"


def kept_engine_matches(plan: Path, sidecar: Path, identity: Dict[str, Any]) -> bool:
    """Whether a kept engine is undamaged and was built from this model by this TensorRT on this GPU."""
    try:
        recorded = json.loads(sidecar.read_text(encoding="utf-8"))
        return bool(recorded == dict(identity, sha256=sha256(plan)))
    except (OSError, ValueError):
        return False


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    temporary = path.with_name("{}.{}.tmp".format(path.name, os.getpid()))
    temporary.write_bytes(content)
    temporary.replace(path)


class Cuda:
    """The few CUDA calls that inference needs, through ctypes, so that no CUDA package is required."""

    LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so")

    def __init__(self) -> None:
        self.device_name = self._probe()
        self.library = load_library(self.LIBRARIES, "the CUDA runtime (libcudart) is not installed")

    def _probe(self) -> str:
        driver = load_library(["libcuda.so.1"], "no NVIDIA driver here (libcuda.so.1)")
        status = driver.cuInit(0)
        if status != 0:
            raise RunnerError("missing-runtime", "no usable NVIDIA GPU here (cuInit returned {})".format(status))
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 256, device):
            raise RunnerError("missing-runtime", "no NVIDIA GPU here")
        major = ctypes.c_int()
        self.has_tf32 = driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device) == 0 and major.value >= 8  # Ampere
        return name.value.decode()

    def call(self, function: str, *arguments: Any) -> None:
        """Call libcudart; RunnerError(failed) on a status other than 0."""
        status = getattr(self.library, function)(*arguments)
        if status != 0:
            raise RunnerError("failed", "{} returned CUDA error {}".format(function, status))

    def stream(self) -> int:
        """A new stream's handle."""
        handle = ctypes.c_void_p()
        self.call("cudaStreamCreate", ctypes.byref(handle))
        return int(handle.value or 0)

    def allocate(self, function: str, size: int) -> int:
        """Address of new memory: `cudaMalloc` on the device, `cudaMallocHost` pinned on the host."""
        pointer = ctypes.c_void_p()
        self.call(function, ctypes.byref(pointer), ctypes.c_size_t(size))
        return int(pointer.value or 0)

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """Enqueue a copy; `kind` is cudaMemcpyKind."""
        pointers = ctypes.c_void_p(target), ctypes.c_void_p(source)
        self.call("cudaMemcpyAsync", *pointers, ctypes.c_size_t(size), ctypes.c_int(kind), ctypes.c_void_p(stream))


class Mirror:
    """A tensor in device memory (`address`) and its pinned copy on the host (`host`)."""

    HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2

    def __init__(self, cuda: Cuda, shape: Shape, dtype: str) -> None:
        self.cuda = cuda
        self.size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.address = cuda.allocate("cudaMalloc", self.size)
        self.host_address = cuda.allocate("cudaMallocHost", self.size)
        memory = (ctypes.c_uint8 * self.size).from_address(self.host_address)
        self.host = np.frombuffer(memoryview(memory), dtype=dtype).reshape(shape)

    def upload(self, stream: int) -> None:
        """Enqueue host to device."""
        self.cuda.copy(self.address, self.host_address, self.size, self.HOST_TO_DEVICE, stream)

    def download(self, stream: int) -> None:
        """Enqueue device to host."""
        self.cuda.copy(self.host_address, self.address, self.size, self.DEVICE_TO_HOST, stream)


def load_library(names: Sequence[str], advice: str) -> Any:
    """The first shared library that loads; RunnerError(missing-runtime) otherwise."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RunnerError("missing-runtime", advice)


RUNTIMES: Dict[str, Type[Runtime]] = {
    "tflite": LiteRT,
    "tflm": TFLiteMicro,
    "openvino": OpenVINO,
    "onnxruntime": OnnxRuntime,
    "tensorrt": TensorRT,
}


def open_runtime(bundle: Bundle, overrides: Sequence[str]) -> Runtime:
    """The bundle's runtime with the manifest's options and the command line's above them."""
    backend = bundle.manifest["backend"]
    if backend not in RUNTIMES:
        raise RunnerError("bad-input", "unknown backend {!r}; known: {}".format(backend, ", ".join(sorted(RUNTIMES))))
    options = {key: plain(value) for key, value in bundle.manifest.get("runtime", {}).items()}
    if any("/" in value or "\\" in value for value in options.values()):
        raise RunnerError("bad-input", "manifest.json: a runtime option names a path, which only --option may")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RunnerError("bad-input", "--option {}: expected KEY=VALUE".format(override))
        options[key] = value
    kind = LiteRTGpu if backend == "tflite" and options.get("delegate") == "gpu" else RUNTIMES[backend]
    check_options(backend, kind.OPTIONS, options)
    return kind(options)


def check_options(backend: str, known: Options, options: Dict[str, str]) -> None:
    """Refuse options and values that the runtime does not have."""
    for key, value in options.items():
        if key not in known:
            raise RunnerError("bad-input", "unknown {} option {!r}; known: {}".format(backend, key, ", ".join(known)))
        legal = known[key]
        if legal is not None and value not in legal:
            raise RunnerError("bad-input", "{}={}: expected {}".format(key, value, " or ".join(legal)))


def plain(value: Any) -> str:
    """An option's value as the command line would spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def same_count(bundle: Bundle, inputs: int, outputs: int) -> None:
    """Refuse a model whose tensors are not those of the manifest."""
    if (inputs, outputs) != (len(bundle.inputs), len(bundle.outputs)):
        found = "{} inputs and {} outputs".format(inputs, outputs)
        raise RunnerError("bad-input", "the model has {}, its manifest differs".format(found))


def package_version(package: str, module: Any) -> str:
    """A module's own version, or its distribution's."""
    if isinstance(getattr(module, "__version__", None), str):
        return str(module.__version__)
    from importlib import metadata

    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return "unknown"


# ----------------------------------------------------------------------------------------------------------- the verbs


class Job:
    """One invocation: a bundle, its runtime, and where records go."""

    block = 1  # steps between two looks at the CPU clock

    def __init__(self, arguments: argparse.Namespace, emit: Callable[..., None]) -> None:
        self.arguments, self.emit = arguments, emit
        self.bundle = Bundle(Path(arguments.bundle))
        manifest, self.offline = self.bundle.manifest, arguments.scenario == "offline"
        self.affinity = arguments.affinity
        if self.affinity is None and arguments.verb == "bench" and manifest.get("affinity"):
            self.affinity = cores(manifest["affinity"])
        if self.affinity is not None:
            pin(self.affinity)  # before the runtime makes its threads
        self.batch = arguments.batch or manifest["batch"]
        self.threads = arguments.threads or (usable_cores() if self.offline else manifest["threads"])
        self.open()

    def run(self) -> bool:
        """Emit every record but `end`; False on a mismatch."""
        manifest = self.bundle.manifest
        self.emit(
            "start", pid=os.getpid(), format=FORMAT,
            bundle=manifest["name"], backend=manifest["backend"], precision=manifest["precision"],
            runtime=type(self.runtime).__name__, runtime_version=self.runtime.version,
            python=platform.python_version(), machine=machine(),
        )  # fmt: skip
        benched = self.arguments.verb == "bench"
        cold = uncached(self.bundle) if benched else None
        golden = self.bundle.golden("input") if benched else []
        self.inputs = [filled(array[: self.batch], self.batch) for array in golden]
        self.memory = Memory()  # only now, or the inputs would count as the model's
        self.emit("load", ms=clocked(self.load), cold=cold, details=self.runtime.details())
        verbs = {"build": self.build, "verify": self.verify, "bench": self.bench, "predict": self.predict}
        return verbs[self.arguments.verb]()

    def open(self) -> None:
        """A runtime without a model; what an earlier one held is free."""
        self.runtime = open_runtime(self.bundle, self.arguments.option)
        self.runtime.offline = self.offline
        gc.collect()

    def load(self) -> None:
        """Load the model."""
        self.runtime.load(self.bundle, self.batch, self.threads)

    def build(self) -> bool:
        """Loading was the work; report what it made."""
        unfit = unfit_cpu(self.bundle.manifest, platform.machine(), cpu_flags())
        self.emit("kernels", **self.runtime.census(), **({"warning": unfit} if unfit else {}))
        self.sized()
        return True

    def sized(self) -> bool:
        """Report what the model takes of a device that this host stands in for; False where it is the device."""
        footprint = self.runtime.footprint()
        if footprint is not None:
            self.emit("footprint", **dict(self.bundle.manifest.get("footprint") or {}, **footprint))
        return footprint is not None

    def infer(self, inputs: Arrays) -> Arrays:
        """Outputs for any number of samples, in batches; the last one is filled up and cut again."""
        collected: List[Arrays] = []
        for begin in range(0, len(inputs[0]), self.batch):
            part = [array[begin : begin + self.batch] for array in inputs]
            count = len(part[0])
            self.runtime.feed([filled(array, self.batch) for array in part])
            self.runtime.step()
            outputs = self.runtime.fetch()
            for spec, output in zip(self.bundle.outputs, outputs):
                if output.shape[:1] != (self.batch,):
                    raise RunnerError("failed", "output {!r} has shape {}".format(spec["name"], output.shape))
            collected.append([output[:count] for output in outputs])
        return [np.concatenate(parts) for parts in zip(*collected)]

    def verify(self) -> bool:
        """Golden inputs, judged in steps against the reference."""
        measured = self.infer(self.bundle.golden("input"))
        tolerance = self.bundle.manifest.get("tolerance") or DEFAULT_TOLERANCE
        if not set(tolerance) <= {*STEP_LIMITS, "agreement"}:
            raise RunnerError("bad-input", "manifest.json: unknown tolerance in {}".format(sorted(tolerance)))
        unfit = unfit_cpu(self.bundle.manifest, platform.machine(), cpu_flags())
        if unfit:
            self.emit("warning", text=unfit)
        verdicts = []
        for spec, reference, output in zip(self.bundle.outputs, self.bundle.golden("output"), measured):
            record = judge(spec, reference, output, tolerance)
            verdicts.append(record["ok"])
            self.emit("golden", **record)
        return all(verdicts)

    def bench(self) -> bool:
        """Time on fixed inputs. A stand-in's is no device's."""
        if self.sized():
            return True
        arguments, clock = self.arguments, self.flow if self.offline else self.latency
        self.runtime.feed(self.inputs)
        first = clocked(self.runtime.step)
        gc.collect()
        gc.disable()
        clock(arguments.seconds / 5, arguments.warmup)
        memory, switches = self.memory.fields(), involuntary_switches()
        samples, cpu = clock(arguments.seconds, arguments.count)
        switches = involuntary_switches() - switches
        self.open()
        self.emit(
            "latency", scenario=arguments.scenario, batch=self.batch, threads=self.threads, affinity=self.affinity,
            first_ms=first, samples_ms=samples, cpu_ms_min=cpu, warm_load_ms=clocked(self.load),
            involuntary_switches=switches if resource else None, load_average=load_average(), **memory,
        )  # fmt: skip
        return True

    def latency(self, seconds: float, count: int) -> Tuple[List[float], float]:
        """Milliseconds of each step, nothing else inside the clock, and of the CPU for the cheapest block of them."""
        wall, cpu = timed(self.runtime.step, seconds, count, self.block)
        self.block = max(1, CPU_CLOCK_NS // min(wall))
        return [sample / 1e6 for sample in wall], min(cpu) / 1e6

    def flow(self, seconds: float, count: int) -> Tuple[List[float], float]:
        """Milliseconds per batch of a steady flow, over as many batches at a time as run at once, and of the CPU."""
        cpu, clock = time.process_time_ns(), time.perf_counter_ns
        ends, group = self.runtime.stream(
            self.inputs, lambda ends: len(ends) <= count or clock() < ends[0] + seconds * 1e9
        )
        samples = [float(taken) / 1e6 / group for taken in np.diff(ends[::group])]
        return samples, (time.process_time_ns() - cpu) / 1e6 / (len(ends) - 1)

    def predict(self) -> bool:
        """Arrays by input name in, arrays by output name out."""
        arguments = self.arguments
        if not arguments.input or not arguments.output:
            raise RunnerError("bad-input", "predict needs --input and --output")
        specs = self.bundle.inputs
        inputs = read_arrays(Path(arguments.input), [spec["name"] for spec in specs])
        inputs = [conforming(array, spec) for array, spec in zip(inputs, specs)]
        if len({len(array) for array in inputs}) != 1:
            raise RunnerError("bad-input", "{}: inputs differ in their number of samples".format(arguments.input))
        outputs = self.infer(inputs)
        named: Dict[str, Any] = {spec["name"]: output for spec, output in zip(self.bundle.outputs, outputs)}
        with Path(arguments.output).open("wb") as stream:  # to a path, np.savez would append .npz
            np.savez(stream, **named)
        self.emit("predictions", path=arguments.output, n=len(inputs[0]))
        return True


def filled(array: Any, batch: int) -> Any:
    """`batch` samples: the array's own, then its samples again from the first."""
    return array if len(array) == batch else np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))


def clocked(work: Callable[[], Any]) -> float:
    """Milliseconds that a call takes."""
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) / 1e6


def timed(step: Callable[[], Any], seconds: float, count: int, block: int = 1) -> Tuple[List[int], List[float]]:
    """Wall nanoseconds of each call and CPU nanoseconds per call of each block, for at least `seconds` and `count`."""
    wall_clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    wall: List[int] = []
    cpu: List[float] = []
    deadline = wall_clock() + int(seconds * 1e9)
    end = 0
    while end < deadline or len(wall) < count:
        cpu_begin = cpu_clock()
        for _ in range(block):
            begin = wall_clock()
            step()
            end = wall_clock()
            wall.append(end - begin)
        cpu.append((cpu_clock() - cpu_begin) / block)
    return wall, cpu


def judge(spec: Dict[str, Any], reference: Any, output: Any, tolerance: Dict[str, float]) -> Dict[str, Any]:
    """Fields of a `golden` record. A step is the spec's own, or 1 for integers, or the reference's range / 255.

    In a deep network a value between two steps, rounded the other way, moves the output by more than the tolerance.
    `drift` is the distance from the reference as a multiple of the reference's own from the float model.
    """
    record: Dict[str, Any] = dict.fromkeys(("max_steps", "p999_steps", "argmax_agreement", "drift"))
    record["output"] = spec["name"]
    if output.shape != reference.shape or not (np.isfinite(output).all() and np.isfinite(reference).all()):
        return dict(record, ok=False)
    scale = spec.get("scale") or 1.0
    step = spec.get("step") or (scale if reference.dtype.kind in "iub" else float(np.ptp(reference)) / 255 or 1.0)
    expected, found = (array.astype(np.float64) * (scale / step) for array in (reference, output))
    steps, noise = np.abs(found - expected), (spec.get("noise") or 0.0) / step
    record["max_steps"] = float(steps.max())
    record["p999_steps"] = float(np.sort(steps, axis=None)[int(0.999 * (steps.size - 1))])  # one outlier of few is none
    record["drift"] = float(np.sqrt(np.mean(steps**2))) / noise if noise else None
    flat = (len(expected), -1)
    record["argmax_agreement"] = agreement(expected.reshape(flat), found.reshape(flat), max(1.0, noise))
    return dict(record, ok=holds(record, tolerance))


def holds(record: Dict[str, Any], tolerance: Dict[str, float]) -> bool:
    """Whether the classes agree and the distance is within the tolerance, or no more than roundings explain."""
    agreeing = record["argmax_agreement"] is None or record["argmax_agreement"] >= tolerance.get("agreement", 0)
    near = all(record[key] <= tolerance[key] + STEP_SLACK for key in STEP_LIMITS if key in tolerance)
    return agreeing and (near or (record["drift"] is not None and record["drift"] <= INDEPENDENT))


def agreement(expected: Any, found: Any, unit: float) -> Optional[float]:
    """Equal argmaxes among the samples that the reference decides by more than 4 units; None where there are none."""
    if expected.shape[1] < 2:
        return None
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > CLEAR_MARGIN_STEPS * unit
    if not clear.any():
        return None
    return float(np.mean(expected[clear].argmax(1) == found[clear].argmax(1)))


# ----------------------------------------------------------------------------------------------- the machine, the clock


def machine() -> Dict[str, Any]:
    """What this runs on."""
    return {"cpu": cpu_name(), "cores": usable_cores(), "kernel": platform.release(), "arch": platform.machine()}


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(text: str) -> List[int]:
    """`0,4-7` as numbers; RunnerError for anything else."""
    ranges = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part) for part in text.split(",")]
    bounds = [(int(found[1]), int(found[2] or found[1])) for found in ranges if found]
    if len(bounds) < len(ranges) or any(last < first for first, last in bounds):
        raise RunnerError("bad-input", "--affinity: {!r} names no cores: 4-7 or 0,2 would".format(text))
    return sorted({core for first, last in bounds for core in range(first, last + 1)})


def pin(wanted: Sequence[int]) -> None:
    """Keep this process, and the threads that it will make, on these cores."""
    if not hasattr(os, "sched_setaffinity"):
        raise RunnerError("bad-input", "--affinity: this system does not keep processes on cores")
    here = os.sched_getaffinity(0)
    absent = [str(core) for core in wanted if core not in here]
    if absent:
        told = "no core {} here: choose others by --affinity, of {}"  # a bundle names cores, too
        raise RunnerError("bad-input", told.format(", ".join(absent), ", ".join(map(str, sorted(here)))))
    os.sched_setaffinity(0, wanted)


def cpu_name() -> str:
    """The board's name, else the CPU's: ARM's cpuinfo names neither."""
    board = read_text("/proc/device-tree/model").rstrip("\0")
    if board:
        return board
    for line in read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "Model"):
            return value.strip()
    return platform.processor() or "unknown"


def cpu_flags() -> Set[str]:
    """What an x86 CPU under Linux says it can do; nothing elsewhere."""
    for line in read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return set(value.split())
    return set()


def unfit_cpu(manifest: Dict[str, Any], arch: str, flags: Set[str]) -> Optional[str]:
    """Why a CPU computes a bundle's scheme wrongly, if it does and says so."""
    exposed = manifest["backend"] in SATURATING and manifest["precision"] == "int8"
    if not exposed or manifest.get("scheme") != "int8-asymmetric":
        return None
    if arch.lower() not in ("x86_64", "amd64") or not flags or flags & VNNI:
        return None
    return (
        "this CPU has no VNNI: pairs of products saturate in int16, and outputs go wrong where weights and activations "
        "are large; export for x86-{}-no-vnni, whose weights are smaller".format(manifest["backend"])
    )


class Memory:
    """What this process holds, in MB (10^6 bytes), and how much of its peak came after this was made."""

    def __init__(self) -> None:
        self.earlier, self.refused = status_mb("VmHWM"), ""
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from VmRSS
        except OSError as error:
            self.refused = "the kernel does not reset a peak: {}".format(error.strerror)
        self.before = status_mb("VmRSS")

    def fields(self) -> Dict[str, Any]:
        """Of a `latency` record."""
        peak = status_mb("VmHWM")
        if peak is None or self.earlier is None or self.before is None:
            return {"peak_rss_mb": None, "model_rss_mb": None, "missing": {"model_rss_mb": "no /proc/self/status here"}}
        added, missing = (None, {"model_rss_mb": self.refused}) if self.refused else (max(0.0, peak - self.before), {})
        return {"peak_rss_mb": max(peak, self.earlier), "model_rss_mb": added, "missing": missing}


def status_mb(field: str) -> Optional[float]:
    """VmRSS, what this process holds, or VmHWM, the most that it held, in MB."""
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def uncached(bundle: Bundle) -> Optional[bool]:
    """Ask the kernel to forget the bundle's files, so that loading reads storage; None where nobody can tell."""
    cold = True
    for path in [bundle.folder / name for name in bundle.manifest["files"]] + [*bundle.folder.glob("engine/*")]:
        try:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())  # what is not yet written would stay
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                cold = cold and not any(resident_pages(stream.fileno()))
        except (AttributeError, OSError, ValueError):
            return None
    return cold


def resident_pages(descriptor: int) -> bytes:
    """For each page of a file, whether it lies in the kernel's page cache."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY) as view:
        there = (ctypes.c_ubyte * -(-len(view) // mmap.PAGESIZE))()
        begin = ctypes.c_ubyte.from_buffer(view)
        status = ctypes.CDLL(None).mincore(ctypes.byref(begin), ctypes.c_size_t(len(view)), there)
        del begin  # the view closes only when nothing points into it
    if status != 0:
        raise OSError("mincore")
    return bytes(there)


def involuntary_switches() -> int:
    """How often another process took this one's CPU; 0 where nobody counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


def load_average() -> Optional[float]:
    """Runnable processes over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def read_text(path: str) -> str:
    """A file's text, or nothing."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def first_line(error: BaseException) -> str:
    """An exception as one line."""
    text = str(error).strip().splitlines()
    return "{}: {}".format(type(error).__name__, text[0]) if text else type(error).__name__


# --------------------------------------------------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    """Wrong arguments end in a record like every other failure."""

    def error(self, message: str) -> NoReturn:
        """Raise RunnerError(bad-input) instead of exiting."""
        raise RunnerError("bad-input", message)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("build", "verify", "bench", "predict"))
    parser.add_argument("bundle", nargs="?", default=str(Path(__file__).resolve().parent))
    parser.add_argument("--batch", type=positive(int))
    parser.add_argument("--threads", type=positive(int))
    parser.add_argument("--affinity", type=cores, metavar="CORES")
    parser.add_argument("--scenario", choices=("single-stream", "offline"), default="single-stream")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=positive(float), default=1.0)
    parser.add_argument("--count", type=positive(int), default=50)
    parser.add_argument("--warmup", type=positive(int), default=10)
    parser.add_argument("--input")
    parser.add_argument("--output")
    return parser.parse_intermixed_args(argv)


def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type for numbers above zero."""

    def number(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    number.__name__ = "positive number"
    return number


def records_to(stream: TextIO) -> Callable[..., None]:
    """A function that writes one record per line."""

    def emit(record: str, **fields: Any) -> None:
        stream.write(json.dumps(dict(record=record, **fields), allow_nan=False) + "\n")
        stream.flush()

    return emit


def main(argv: Sequence[str]) -> int:
    """Exit code."""
    records = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print to stdout from C; the records have it to themselves
    emit = records_to(records)
    try:
        arguments = parse_arguments(argv)
        if np is None:
            raise RunnerError("missing-runtime", "numpy is not installed: pip install numpy")
        if not Job(arguments, emit).run():
            raise RunnerError("mismatch", "outputs differ from the reference beyond the tolerance")
    except RunnerError as error:
        emit("end", ok=False, error=str(error), kind=error.kind)
        return EXIT_CODES[error.kind]
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a runtime's own exceptions have no common base
        emit("end", ok=False, error=first_line(error), kind="failed")
        return EXIT_CODES["failed"]
    emit("end", ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
