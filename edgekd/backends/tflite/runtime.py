"""LiteRT on the device."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Dict, List, Optional, Sequence, Set, Tuple, Type

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle, batched
from edgekd.runner.errors import RunnerError
from edgekd.runner.machine import read_text
from edgekd.runner.runtime import (
    Options,
    Runtime,
    Tensors,
    c_messages,
    counted,
    import_first,
    kernel_time,
    layer_of,
    load_library,
    package_version,
    same_count,
    tensor,
)

WARM = 5
PROFILING = "enable_profiling = true\n"
RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda content: None)
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
TAGS = {  # an operator of the model → XNNPACK's: how the first begins, and how those begin that may follow it
    "CONV_2D": (("Convolution", "Fully Connected"), ("Clamp",)),
    "DEPTHWISE_CONV_2D": (("Convolution",), ("Clamp",)),
    "TRANSPOSE_CONV": (("Deconvolution",), ("Clamp",)),
    "FULLY_CONNECTED": (("Fully Connected",), ("Clamp",)),
    "BATCH_MATMUL": (("Batch Matrix Multiply",), ()),
    "ADD": (("Add",), ("Clamp",)),
    "SUB": (("Subtract",), ("Clamp",)),
    "MUL": (("Multiply",), ("Clamp",)),
    "MEAN": (("Mean",), ("Static Reshape",)),
    "AVERAGE_POOL_2D": (("Average Pooling", "Global Average Pooling"), ("Clamp",)),
    "MAX_POOL_2D": (("Max Pooling",), ("Clamp",)),
    "CONCATENATION": (("Concatenate",), ("Concatenate", "Copy")),
    "PAD": (("Constant Pad",), ()),
    "QUANTIZE": (("Convert",), ()),
    "DEQUANTIZE": (("Convert",), ()),
    "RESHAPE": (("Static Reshape", "Copy"), ()),
    "SOFTMAX": (("Softmax",), ()),
    "LOGISTIC": (("Sigmoid",), ()),
    "HARD_SWISH": (("HardSwish",), ()),
    "RELU": (("Clamp",), ()),
    "RELU6": (("Clamp",), ()),
    "TANH": (("Tanh",), ()),
    "GELU": (("GELU",), ()),
    "TRANSPOSE": (("Transpose",), ()),
}


class LiteRT(Runtime):
    """TensorFlow Lite flatbuffers through LiteRT, or through the older tflite-runtime.

    `delegate` may also be a delegate's shared library; what that leaves, and `xnnpack` leaves, is LiteRT's own.
    """

    OPTIONS: ClassVar[Options] = {"delegate": None, "resolver": ("builtin", "ref")}
    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 2.0, "agreement": 0.99}
    SUFFIX: ClassVar[Optional[str]] = ".tflite"
    PROFILED = "LiteRT's profiler: medians in whole µs, rounded down"
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

    @classmethod
    def chosen(cls, options: Dict[str, str]) -> Type[Runtime]:
        """The GPU is another part of LiteRT."""
        return LiteRTGpu if options.get("delegate") == "gpu" else cls

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """As the interpreter lists them; quantised ones with their scale."""
        interpreter = self.module.Interpreter(model_path=str(model))
        inputs, outputs = (
            [
                tensor(
                    detail["name"],
                    np.dtype(detail["dtype"]).name,
                    [int(size) if size > 0 else None for size in detail["shape_signature"]],
                    *detail["quantization"],
                )
                for detail in details
            ]
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )
        return inputs, outputs

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
        self.path, self.threads = bundle.model, threads
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

    def operator_coverage(self) -> Dict[str, Any]:
        """An op is int8 when its weights and its output are; `fallback` ops were left by the delegate."""
        types = {detail["index"]: np.dtype(detail["dtype"]).name for detail in self.interpreter.get_tensor_details()}
        nodes = self.nodes()
        weighted = [node for node in nodes if node["op_name"] in self.WEIGHTED]
        int8 = sum(types.get(n["inputs"][1]) == types.get(n["outputs"][0]) == "int8" for n in weighted)
        ops = Counter(str(node["op_name"]) for node in nodes)
        kernels = counted(ops, int8, len(weighted), "tensor types of the interpreter's nodes")
        left = None if self.taken is None else len(nodes) - ops["DELEGATE"] - self.taken
        return dict(kernels, delegated=self.taken, fallback=left)

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Of XNNPACK's operators, which carry no names: those of the model's, where the two lists match in order."""
        if self.package != "ai_edge_litert" or self.delegate != "xnnpack":
            raise RunnerError("bad-input", "only LiteRT with XNNPACK tells what its operators take")
        folder = Path(str(importlib.import_module(self.package).__file__)).parent
        counted = Profiler(folder / "libLiteRt.so", self.path, self.threads).run(arrays, runs)
        details = {detail["index"]: detail for detail in self.interpreter.get_tensor_details()}
        names = {index: str(detail["name"]) for index, detail in details.items()}
        plain = [node for node in self.nodes() if node["op_name"] != "DELEGATE"]
        layers = aligned([str(node["op_name"]) for node in plain], [tag for tag, _ in counted])
        sizes = [
            int(np.prod(details[node["inputs"][1]]["shape"])) if node["op_name"] in WEIGHTED else None for node in plain
        ]
        own = [(None, None) if at is None else (self._layer(plain[at], names), sizes[at]) for at in layers]
        return [
            kernel_time(tag, layer, *kernel_of(tag), "XNNPACK", us, weights)
            for (tag, us), (layer, weights) in zip(counted, own)
        ]

    def _layer(self, node: Dict[str, Any], names: Dict[int, str]) -> Optional[str]:
        """By its weights or else by its output; what only changes types or sizes is the runtime's."""
        if node["op_name"] in ("QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "PAD"):
            return None
        weights = [layer_of(names.get(index, "")) for index in node["inputs"]]
        return next(filter(None, weights), names.get(node["outputs"][0]))

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

    def operator_coverage(self) -> Dict[str, Any]:
        """A GPU computes in float what the model has in int8."""
        return dict(super().operator_coverage(), int8=0, how="operators of the model: LiteRT's GPU computes in float")

    def precision(self) -> str:
        """What it was held to."""
        return "f32" if self.option("precision") == "f32" else "the GPU's"


class Profiler:
    """LiteRT's own C interface, which alone has a profiler. Every call returns 0 where it succeeds."""

    EVENT = 104  # bytes of one event: its tag's address at 0, its kind at 8, µs at 24, the operator's index at 80
    OPERATOR, OTHERS = 8, (1, 2, 4, 32)  # kinds: an operator of a delegate, and what else there is

    def __init__(self, library: Path, model: Path, threads: int) -> None:
        advice = "this LiteRT has no library with a profiler: pip install --upgrade ai-edge-litert"
        self.library = load_library([str(library)], advice)
        if not hasattr(self.library, "LiteRtCompiledModelGetProfiler"):
            raise RunnerError("missing-runtime", advice)
        self.kept: List[Any] = []
        self.environment = self.made("CreateEnvironment", 0, None)
        self.model = self.made("CreateModelFromFile", self.environment, str(model).encode())
        options = self.made("CreateOptions")
        self.call("SetOptionsHardwareAccelerators", options, 1)
        for kind, text in (("xnnpack", "num_threads = {}\n".format(threads)), ("runtime_options_string", PROFILING)):
            content = ctypes.create_string_buffer(text.encode())
            self.kept += [content, RELEASE]
            opaque = self.made("CreateOpaqueOptions", kind.encode(), ctypes.cast(content, ctypes.c_void_p), RELEASE)
            self.call("AddOpaqueOptions", options, opaque)
        self.compiled = self.made("CreateCompiledModel", self.environment, self.model, options)
        self.profiler = self.made("CompiledModelGetProfiler", self.compiled)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; RunnerError(failed) where it fails."""
        if getattr(self.library, "LiteRt" + name)(*arguments):
            raise RunnerError("failed", "LiteRt{} failed".format(name))

    def made(self, name: str, *arguments: Any) -> Any:
        """What a function leaves in its last argument."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def run(self, arrays: Arrays, runs: int) -> List[Tuple[str, float]]:
        """Tag and median µs of each operator, in order."""
        inputs, outputs = self.buffers("Input", len(arrays)), self.buffers("Output", None)
        for buffer, array in zip(inputs, arrays):
            there = ctypes.c_void_p()
            self.call("LockTensorBuffer", buffer, ctypes.byref(there), 1)
            ctypes.memmove(there, np.ascontiguousarray(array).ctypes.data, array.nbytes)
            self.call("UnlockTensorBuffer", buffer)
        taken: List[List[Tuple[str, int]]] = []
        for _ in range(WARM + runs):
            self.call("ResetProfiler", self.profiler)
            self.call("StartProfiler", self.profiler)
            self.call(
                "RunCompiledModel", self.compiled, ctypes.c_size_t(0), ctypes.c_size_t(len(inputs)),
                (ctypes.c_void_p * len(inputs))(*inputs), ctypes.c_size_t(len(outputs)),
                (ctypes.c_void_p * len(outputs))(*outputs),
            )  # fmt: skip
            self.call("StopProfiler", self.profiler)
            taken.append(self.events())
        tags = [tag for tag, _ in taken[-1]]
        return [(tag, float(np.median([run[i][1] for run in taken[-runs:]]))) for i, tag in enumerate(tags)]

    def buffers(self, kind: str, count: Optional[int]) -> List[Any]:
        """A buffer for each input or output, at the sizes that the file has, 1 where they are free."""
        signature = self.made("GetModelSignature", self.model, ctypes.c_size_t(0))
        if count is None:
            number = ctypes.c_size_t()
            self.call("GetNumSignatureOutputs", signature, ctypes.byref(number))
            count = number.value
        found = []
        for index in map(ctypes.c_size_t, range(count)):
            tensor = self.made("GetSignature{}TensorByIndex".format(kind), signature, index)
            shape = (ctypes.c_int32 * 64)()
            self.call("GetRankedTensorType", tensor, shape)
            shape[2:10] = [max(size, 1) if size < 0 else size for size in shape[2:10]]
            needs = self.made(
                "GetCompiledModel{}BufferRequirements".format(kind), self.compiled, ctypes.c_size_t(0), index
            )
            found.append(self.made("CreateManagedTensorBufferFromRequirements", self.environment, shape, needs))
        return found

    def events(self) -> List[Tuple[str, int]]:
        """Tag and µs of each operator of the last run; RunnerError(failed) where events are not laid out as known."""
        number = ctypes.c_int()
        self.call("GetNumProfilerEvents", self.profiler, ctypes.byref(number))
        raw = (ctypes.c_char * (self.EVENT * number.value))()
        self.call("GetProfilerEvents", self.profiler, number, raw)
        words = np.frombuffer(raw.raw, np.int64).reshape(-1, self.EVENT // 8)
        kinds = words[:, 1] & 0xFFFFFFFF
        if not set(kinds.tolist()) <= {self.OPERATOR, *self.OTHERS}:
            raise RunnerError("failed", "the events of this LiteRT's profiler are laid out in another way")
        mine = sorted(words[kinds == self.OPERATOR].tolist(), key=lambda event: int(event[10]))
        return [((ctypes.string_at(event[0]) or b"").decode(errors="replace"), event[3]) for event in mine]


def aligned(operators: Sequence[str], tags: Sequence[str]) -> List[Optional[int]]:
    """For each of XNNPACK's operators the model's that it is; of layers alone where the lists do not match in order."""
    found: List[Optional[int]] = []
    for at, operator in enumerate(operators):
        firsts, more = TAGS.get(operator, ((), ()))
        if len(found) < len(tags) and tags[len(found)].startswith(firsts or ("?",)):
            found.append(at)
            while len(found) < len(tags) and more and tags[len(found)].startswith(more):
                found.append(at)
        elif operator not in ("PAD", "RESHAPE"):  # those may have gone into the next
            return layers_aligned(operators, tags)
    return found if len(found) == len(tags) else layers_aligned(operators, tags)


def layers_aligned(operators: Sequence[str], tags: Sequence[str]) -> List[Optional[int]]:
    """As `aligned`, of operators with weights; None for all where there are not as many, or of other kinds."""
    layers = [at for at, operator in enumerate(operators) if operator in WEIGHTED]
    kernels = [
        at
        for at, tag in enumerate(tags)
        if tag.startswith(tuple(first for kind in WEIGHTED for first in TAGS[kind][0]))
    ]
    found: List[Optional[int]] = [None] * len(tags)
    pairs = list(zip(layers, kernels))
    if len(layers) == len(kernels) and all(tags[tag].startswith(TAGS[operators[at]][0]) for at, tag in pairs):
        for at, tag in pairs:
            found[tag] = at
    return found


def kernel_of(tag: str) -> Tuple[str, Optional[str]]:
    """Kernel and precision of a tag such as `Convolution (NHWC, QC8) IGEMM`."""
    name, opened, rest = tag.partition(" (")
    types, _, variant = rest.partition(")")
    precision = types.rpartition(", ")[2].lower() if opened else None
    return "{} {}".format(name, variant.strip()).strip(), precision


def contains(path: Path, words: bytes) -> bool:
    """Whether a file holds some bytes; it is read in parts, as its memory would count as the model's."""
    end = b""
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 16), b""):
            if words in end + block:
                return True
            end = block[-len(words) :]
    return False


RUNTIME = LiteRT
