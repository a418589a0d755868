"""LiteRT on the device."""

from __future__ import annotations

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
    load_library,
    package_version,
    same_count,
    tensor,
)


class LiteRT(Runtime):
    """TensorFlow Lite flatbuffers through LiteRT, or through the older tflite-runtime.

    `delegate` may also be a delegate's shared library; what that leaves, and `xnnpack` leaves, is LiteRT's own.
    """

    OPTIONS: ClassVar[Options] = {"delegate": None, "resolver": ("builtin", "ref")}
    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 2.0, "agreement": 0.99}
    SUFFIX = ".tflite"
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

    def operator_coverage(self) -> Dict[str, Any]:
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

    def operator_coverage(self) -> Dict[str, Any]:
        """A GPU computes in float what the model has in int8."""
        return dict(super().operator_coverage(), int8=0, how="operators of the model: LiteRT's GPU computes in float")

    def precision(self) -> str:
        """What it was held to."""
        return "f32" if self.option("precision") == "f32" else "the GPU's"


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
