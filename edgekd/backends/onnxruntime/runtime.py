"""ONNX Runtime on the device."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.errors import RunnerError
from edgekd.runner.machine import in_float
from edgekd.runner.runtime import (
    Options,
    Runtime,
    Tensors,
    counted,
    import_first,
    kernel_time,
    layer_of,
    package_version,
    same_count,
    tensor,
)

WARM, KERNEL = 5, "_kernel_time"
FUSED = 6  # operations behind a layer that may be part of its kernel, and their quantisers
CPU = "CPUExecutionProvider"
# x86 without VNNI sums pairs of u8 × s8 products in int16, where they saturate: with this, large weights become u8,
# whose sums do not, at some cost in time.
EXACT, TWICE = "session.x64quantprecision", "Attempt to replace the existing tensor"
FLOAT = "session.disable_quant_qdq"  # then layers compute in float, between quantisers
Weighted = Tuple[Optional[str], Optional[int]]  # a layer's name and how many weights it has
PROFILER = 2.0  # µs that it adds to each kernel: what those read that do nothing


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU, or by another execution provider, which leaves to the CPU what it does not take."""

    OPTIONS: ClassVar[Options] = {
        "optimize": ("all", "none"),
        "provider": ("cpu", "xnnpack", "cuda", "tensorrt", "coreml", "openvino"),
        "device": ("CPU", "GPU", "NPU"),  # of OpenVINO's provider
    }
    PROVIDERS: ClassVar[Dict[str, Tuple[str, ...]]] = {  # each before those that take what it leaves
        "xnnpack": ("XnnpackExecutionProvider",),
        "cuda": ("CUDAExecutionProvider",),
        "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
        "coreml": ("CoreMLExecutionProvider",),
        "openvino": ("OpenVINOExecutionProvider",),
    }
    GET: ClassVar[Dict[str, str]] = {
        "xnnpack": "no wheel has it: build ONNX Runtime with --use_xnnpack",
        "cuda": "pip install onnxruntime-gpu",
        "tensorrt": "pip install onnxruntime-gpu",
        "coreml": "pip install onnxruntime (on macOS)",
        "openvino": "pip install onnxruntime-openvino (without onnxruntime beside it)",
    }
    placed: Optional[Dict[str, int]] = None  # nodes by provider, where one was asked for
    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 2.0, "agreement": 0.99}
    SUFFIX: ClassVar[Optional[str]] = ".onnx"
    PROFILED = "ONNX Runtime's profiler: medians in whole µs, less what the cheapest kernel reads (2 at most)"
    OWN: ClassVar[Set[str]] = {"Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear"}
    TYPES: ClassVar[Dict[str, str]] = {"float": "float32", "double": "float64"}
    INT8: ClassVar[Set[str]] = {
        *("ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat"),
        *("QGemm", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul"),
    }
    FLOAT: ClassVar[Set[str]] = {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul", "NhwcFusedConv"),
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        if "device" in options and options.get("provider") != "openvino":
            raise RunnerError("bad-input", "device={}: with provider=openvino alone".format(options["device"]))
        self.module = import_first(["onnxruntime"], "ONNX Runtime is not installed: pip install onnxruntime")
        self.version = package_version("onnxruntime", self.module)

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """As the session lists them."""
        self.model, self.threads = model, 1
        session = self._session()
        inputs, outputs = (
            [tensor(entry.name, self._dtype(entry.type), [free(size) for size in entry.shape]) for entry in entries]
            for entries in (session.get_inputs(), session.get_outputs())
        )
        return inputs, outputs

    def _dtype(self, told: str) -> str:
        """`tensor(float)` is float32; what is no tensor, such as a sequence, keeps its name."""
        kind = told[len("tensor(") : -1] if told.startswith("tensor(") else told
        return self.TYPES.get(kind, kind)

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

    def _session(self, optimized: Optional[str] = None, profile: Optional[str] = None) -> Any:
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        levels = self.module.GraphOptimizationLevel
        everything = self.option("optimize") == "all"
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if everything else levels.ORT_DISABLE_ALL
        if optimized is not None:
            options.optimized_model_filepath = optimized
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        if not self.accelerated:
            return self._opened(options, [CPU])
        return self._placed(options, self.PROVIDERS[self.option("provider")])

    @property
    def accelerated(self) -> bool:
        """Whether another provider than the CPU's was asked for."""
        return self.options.get("provider", "cpu") != "cpu"

    def _opened(self, options: Any, providers: Sequence[Any]) -> Any:
        # This pass would take layers back to int8 that the graph keeps in float, with one scale per weight.
        off = ["WeightBiasQuantization"]
        options.add_session_config_entry(EXACT, "1")
        try:
            return self.module.InferenceSession(str(self.model), options, providers, disabled_optimizers=off)
        except Exception as error:
            if TWICE in str(error):  # ONNX Runtime 1.32 cannot make one weight u8 for two layers
                options.add_session_config_entry(FLOAT, "1")
                self.warning = in_float("onnxruntime")
        options.add_session_config_entry(EXACT, "0")
        return self.module.InferenceSession(str(self.model), options, providers, disabled_optimizers=off)

    def _placed(self, options: Any, wanted: Sequence[str]) -> Any:
        """A session by a provider that is there and takes some of the model; where its nodes are is counted."""
        asked = self.option("provider")
        if wanted[0] not in self.module.get_available_providers():
            told = "ONNX Runtime {} has no {} here: {}"
            raise RunnerError("missing-runtime", told.format(self.version, wanted[0], self.GET[asked]))
        if not hasattr(self.module.InferenceSession, "get_provider_graph_assignment_info"):
            told = "ONNX Runtime {} does not tell where nodes are, 1.24 does: {}"
            raise RunnerError("missing-runtime", told.format(self.version, self.GET[asked]))
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings = {"device_type": self.option("device")} if asked == "openvino" else {}
        session = self._opened(options, [(wanted[0], settings), *wanted[1:], CPU])
        self.placed = Counter()
        for part in session.get_provider_graph_assignment_info():
            self.placed[part.ep_name] += len(part.get_nodes())
        if not self.placed[wanted[0]]:
            told = "{} takes none of the model's {} nodes: it would run on the CPU without a word"
            raise RunnerError("failed", told.format(wanted[0], sum(self.placed.values())))
        return session

    def feed(self, arrays: Arrays) -> None:
        """Bind the inputs once, so that the timed call copies nothing."""
        for name, array in zip(self.names, arrays):
            self.binding.bind_ortvalue_input(name, self.module.OrtValue.ortvalue_from_numpy(array))

    def fetch(self) -> Arrays:
        """Copies of what the bound run made."""
        return [np.asarray(output) for output in self.binding.copy_outputs_to_cpu()]

    def operator_coverage(self) -> Dict[str, Any]:
        """Operators of the model that ONNX Runtime executes after its own fusions; of a provider, the nodes it took."""
        if self.placed is not None:
            told = {"int8": None, "total": None, "how": "nodes by provider, as ONNX Runtime assigned them"}
            left = self.placed.get(CPU, 0)
            taken = sum(self.placed.values()) - left
            return dict(told, ops=dict(sorted(self.placed.items())), delegated=taken, fallback=left)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            self._session(str(path))
            ops = Counter(onnx_operators(path.read_bytes()))
        int8 = sum(ops[kind] for kind in self.INT8)
        return counted(ops, int8, int8 + sum(ops[kind] for kind in self.FLOAT), "operators of the optimised model")

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """In the order of execution; a layer is found by the names of the weights that its kernel reads."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            session = self._session(None if self.accelerated else str(path), str(Path(folder) / "profile"))
            feeds = dict(zip(self.names, arrays))
            for _ in range(WARM + runs):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            optimized = path if path.exists() else self.model  # what a provider compiled cannot be written
            weights = {name: inputs for name, inputs, _ in onnx_nodes(optimized.read_bytes())}
        source = self.model.read_bytes()
        nodes = list(onnx_nodes(source))
        makers = {name: inputs for name, inputs, _ in nodes}  # a kernel is called after its node or its output
        makers.update((edge, inputs) for _, inputs, outputs in nodes for edge in outputs)
        sizes = onnx_weights(source)
        taken: Dict[str, List[float]] = {}
        facts: Dict[str, Any] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
                name = event["name"][: -len(KERNEL)]
                taken.setdefault(name, []).append(event["dur"])
                facts[name] = event["args"]
        times = {name: float(np.median(own[-runs:])) for name, own in taken.items()}
        floor = min(PROFILER, *times.values())
        return [
            self._kernel(
                name, facts[name], weights_behind(bare(name), weights.get(name, []), makers, sizes), us - floor
            )
            for name, us in times.items()
        ]

    def _kernel(self, name: str, facts: Dict[str, Any], behind: Weighted, us: float) -> Dict[str, Any]:
        kind, shapes = str(facts["op_name"]), facts.get("input_type_shape") or []
        weighted, precision = kind in self.INT8 | self.FLOAT, next(iter(shapes[0]), None) if shapes else None
        told, weights = behind if weighted else (None, None)
        layer = None if kind in self.OWN else told or bare(name)
        return kernel_time(name, layer, kind, precision, facts.get("provider", ""), us, weights)

    def details(self) -> Dict[str, str]:
        """On a CPU float32 is computed in float32, unless an option that is not ours allows bfloat16."""
        if self.placed is None:
            return {"precision": "f32"}
        return {"provider": ", ".join("{}: {} nodes".format(*pair) for pair in sorted(self.placed.items()))}


def free(size: Any) -> Optional[int]:
    """A dimension, or None where it has a name or nothing instead of a size."""
    return size if isinstance(size, int) and size > 0 else None


def onnx_operators(model: bytes) -> Iterator[str]:
    """Operator types of an ONNX file's top graph: ModelProto.graph (7) . node (1) . op_type (4), without protobuf."""
    for graph in _fields(model, 7):
        for node in _fields(graph, 1):
            for operator in _fields(node, 4):
                yield bytes(operator).decode()


def onnx_nodes(model: bytes) -> Iterator[Tuple[str, List[str], List[str]]]:
    """Each node of the top graph: name (3), inputs (1), outputs (2)."""
    for graph in _fields(model, 7):
        for node in _fields(graph, 1):
            name, inputs, outputs = ([bytes(text).decode() for text in _fields(node, at)] for at in (3, 1, 2))
            yield "".join(name), inputs, outputs


def bare(name: str) -> str:
    """A node's name without what ONNX Runtime's passes append."""
    return re.sub(r"(_token_\d+|_nchwc|_quant)+$", "", name)


def onnx_weights(model: bytes) -> Dict[str, int]:
    """How many numbers the matrices and kernels among the constants of the top graph hold: dims (1) by name (8)."""
    found: Dict[str, int] = {}
    for graph in _fields(model, 7):
        for constant in _fields(graph, 5):
            sizes = [size for size in _fields(constant, 1) if isinstance(size, int)]
            if len(sizes) > 1:
                found.update((bytes(name).decode(), int(np.prod(sizes))) for name in _fields(constant, 8))
    return found


def weights_behind(edge: str, inputs: Sequence[str], makers: Dict[str, List[str]], sizes: Dict[str, int]) -> Weighted:
    """The layer whose weights a kernel reads, and how many; where they were renamed, of what makes its output."""

    def size_among(names: Sequence[str]) -> Optional[int]:
        sources = [source for name in names[1:] for source in (name, *makers.get(name, ())[:1])]  # behind a quantiser
        return next(filter(None, map(sizes.get, sources)), None)

    for _ in range(FUSED):
        behind = makers.get(edge, [])
        layer = next(filter(None, map(layer_of, inputs)), None)
        size = size_among(inputs) or (size_among(behind) if layer else None)
        if layer or size or not behind:
            return layer, size
        edge, inputs = behind[0], behind
    return None, None


def _fields(message: Any, wanted: int) -> Iterator[Any]:
    """Fields with a number, in a protobuf message: whole numbers, one by one, and what has a length."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(view, at)
            if number == wanted:
                yield value
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


RUNTIME = OnnxRuntime
