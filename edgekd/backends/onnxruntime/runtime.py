"""ONNX Runtime on the device."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, Optional, Set, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.runtime import (
    Options,
    Runtime,
    Tensors,
    counted,
    import_first,
    package_version,
    same_count,
    tensor,
)


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU."""

    OPTIONS: ClassVar[Options] = {"optimize": ("all", "none")}
    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 2.0, "agreement": 0.99}
    SUFFIX = ".onnx"
    SATURATES = True
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
        # This pass would take layers back to int8 that the graph keeps in float, with one scale per weight.
        off = ["WeightBiasQuantization"]
        providers = ["CPUExecutionProvider"]
        return self.module.InferenceSession(str(self.model), options, providers, disabled_optimizers=off)

    def feed(self, arrays: Arrays) -> None:
        """Bind the inputs once, so that the timed call copies nothing."""
        for name, array in zip(self.names, arrays):
            self.binding.bind_ortvalue_input(name, self.module.OrtValue.ortvalue_from_numpy(array))

    def fetch(self) -> Arrays:
        """Outputs of the bound run."""
        return [np.array(output) for output in self.binding.copy_outputs_to_cpu()]

    def operator_coverage(self) -> Dict[str, Any]:
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


def free(size: Any) -> Optional[int]:
    """A dimension, or None where it has a name or nothing instead of a size."""
    return size if isinstance(size, int) and size > 0 else None


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


RUNTIME = OnnxRuntime
