"""TensorRT on the device."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle, Shape, batched, sha256
from edgekd.runner.errors import RunnerError
from edgekd.runner.runtime import Options, Runtime, counted, import_first, load_library, package_version, same_count


class TensorRT(Runtime):
    """TensorRT 10 or 11. The engine is built on the device and kept beside the model with what it was built from."""

    OPTIONS: ClassVar[Options] = {"workspace_mb": None}
    TOLERANCE: ClassVar[Dict[str, float]] = {"p999_steps": 4.0, "agreement": 0.99}
    KEEPS: ClassVar[Optional[str]] = r"engine/[\w.-]+\.(plan|json|cache)"  # what was built here, beside the model
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
        config.profiling_verbosity = self.module.ProfilingVerbosity.DETAILED  # the coverage reads layer types from it
        workspace = self.option("workspace_mb")
        if workspace:
            config.set_memory_pool_limit(self.module.MemoryPoolType.WORKSPACE, int(workspace) << 20)
        return config

    def operator_coverage(self) -> Dict[str, Any]:
        """Layers of the engine whose inputs are Int8, by the engine inspector."""
        return tensorrt_coverage(self._layers(), self.WEIGHTED)

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


def tensorrt_coverage(document: Dict[str, Any], weighted: Sequence[str]) -> Dict[str, Any]:
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


RUNTIME = TensorRT
