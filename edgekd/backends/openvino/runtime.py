"""OpenVINO on the device."""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Callable, ClassVar, Dict, List, Optional, Set, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle, batched
from edgekd.runner.errors import RunnerError
from edgekd.runner.machine import cpu_flags, in_float, saturates
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

WARM, COMPILATIONS = 8, 3
Weighted = Tuple[Optional[str], int]  # a layer's name and how many weights it has
WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
CONVERTER = "openvino.tools.ovc"  # a large part of importing openvino; nothing here converts a model


def keep_to_itself() -> None:
    """Let OpenVINO report no usage: it forks a process that calls a server, and never ends where that one hangs."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # then it cannot be imported
    sender: Any = sys.modules.get("openvino_telemetry.utils.sender")
    if sender is not None:  # somebody else imported OpenVINO before
        sender.TelemetrySender.send = lambda *told: None


@lru_cache(maxsize=None)
def shared_core(openvino: Any) -> Any:
    """The process's only Core, never let go: where one of two ends before the other, the next Ctrl-C is a crash.

    Each one's CPU plug-in moves signals to a stack of its own; at its end, back to that before it, which may be gone.
    """
    return openvino.Core()


class OpenVINO(Runtime):
    """OpenVINO IR. Float arithmetic is held to f32 unless `precision=default`, which may pick bf16 or f16."""

    OPTIONS: ClassVar[Options] = {"precision": ("f32", "default"), "device": None}
    TOLERANCE: ClassVar[Dict[str, float]] = {"p999_steps": 4.0, "agreement": 0.99}
    SUFFIX = ".xml"
    COMPANIONS = (".bin",)
    PROFILED = "OpenVINO's counters: the least mean of three compilations"
    OWN: ClassVar[Set[str]] = {"Reorder", "Convert", "Input", "Output", "Parameter", "Result", "Transpose"}
    WEIGHTED: ClassVar[Set[str]] = {
        *("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "Gemm"),
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        keep_to_itself()
        sys.modules.setdefault(CONVERTER, None)  # type: ignore[arg-type]
        self.module = import_first(["openvino"], "OpenVINO is not installed: pip install openvino")
        self.version = package_version("openvino", self.module)

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """As the IR lists them; its weights lie beside it."""
        read = shared_core(self.module).read_model(str(model), str(model.with_suffix(".bin")))
        inputs, outputs = (
            [
                tensor(
                    port.get_any_name(),
                    np.dtype(port.get_element_type().to_dtype()).name,
                    [size.get_length() if size.is_static else None for size in port.get_partial_shape()],
                )
                for port in ports
            ]
            for ports in (read.inputs, read.outputs)
        )
        return inputs, outputs

    def load(self, bundle: Bundle, batch: int, threads: int) -> None:
        """Compile at a fixed batch, for least latency, on the CPU in one stream, or for throughput."""
        weights = bundle.listed(str(PurePosixPath(bundle.manifest["model"]).with_suffix(".bin")))
        core = shared_core(self.module)
        model = self.read = core.read_model(str(bundle.model), str(weights))
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
        if device == "CPU" and saturates(bundle.manifest, platform.machine(), cpu_flags()):
            config["LP_TRANSFORMS_MODE"] = "NO"
            self.warning = in_float(bundle.manifest["backend"])
        self.config, self.device = config, device
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

    def operator_coverage(self) -> Dict[str, Any]:
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

    def profile(self, arrays: Arrays, runs: int) -> List[Dict[str, Any]]:
        """Counters are means since compilation, floored to µs: each node's is taken between two readings of them.

        What took less than 1 µs by then is not among the first, as if it had not run.
        """
        layers = self._layers()
        found: Dict[str, Dict[str, Any]] = {}
        for _ in range(COMPILATIONS):
            config = dict(self.config, PERF_COUNT=True)
            compiled = shared_core(self.module).compile_model(self.read, self.device, config)
            request = compiled.create_infer_request()
            self._fill(request, arrays)
            before = self._counters(request, WARM)
            after = self._counters(request, runs)
            facts = {
                node.get_friendly_name(): node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()
            }
            for name, (kind, us) in after.items():
                _, warm = before.get(name, (kind, 0.0))
                spent = max(0.0, ((WARM + runs) * us - WARM * warm) / runs)
                row = self._kernel(name, kind, facts.get(name, {}), layers, spent)
                found[name] = min(row, found.get(name, row), key=lambda one: float(one["us"]))
        return list(found.values())

    @staticmethod
    def _counters(request: Any, runs: int) -> Dict[str, Tuple[str, float]]:
        for _ in range(runs):
            request.infer(share_outputs=True)
        return {
            row.node_name: (row.node_type, 1e6 * row.real_time.total_seconds())
            for row in request.profiling_info
            if "NOT_RUN" not in str(row.status)
        }

    def _kernel(self, name: str, kind: str, facts: Any, layers: Dict[str, Weighted], us: float) -> Dict[str, Any]:
        told = {key: _text(facts[key]) for key in ("primitiveType", "originalLayersNames") if key in facts}
        known = {node.get_friendly_name() for node in self.read.get_ops()}
        origins = [source_of(origin, known) for origin in (told.get("originalLayersNames") or name).split(",")]
        found, weights = next((layers[origin] for origin in origins if origin in layers), (None, None))
        layer = found or (None if kind in self.OWN else origins[0])
        primitive = told.get("primitiveType", "")
        return kernel_time(
            name,
            layer,
            "{} {}".format(kind, primitive).strip(),
            primitive.rpartition("_")[2].lower() or None,
            self.device,
            us,
            weights,
        )

    def _layers(self) -> Dict[str, Weighted]:
        """Of each operation with weights the layer, by the name of the constant that they come from, and how many."""
        found: Dict[str, Weighted] = {}
        for node in self.read.get_ordered_ops():
            if node.get_type_name() in WEIGHTED:
                source = node.input_value(1).get_node()
                while source.get_type_name() != "Constant" and source.get_input_size():
                    source = source.input_value(0).get_node()
                if source.get_type_name() == "Constant":
                    told = layer_of(source.get_friendly_name()), int(np.prod(source.get_output_shape(0)))
                    readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
                    bias = [
                        reader for reader in readers if reader.get_type_name() == "Add"
                    ]  # a kernel may bear its name
                    found.update((one.get_friendly_name(), told) for one in (*bias, node))
        return found

    def details(self) -> Dict[str, str]:
        """The precision that float operators run in, and the devices chosen."""
        precision = self.compiled.get_property("INFERENCE_PRECISION_HINT")
        devices = self.compiled.get_property("EXECUTION_DEVICES")
        return {"precision": precision.get_type_name(), "device": ",".join(devices)}


def source_of(origin: str, known: Set[str]) -> str:
    """The operation of the file that one of OpenVINO's own, such as `conv/WithoutBiases`, comes from."""
    name = origin
    while name and name not in known:
        name = name.rpartition("/")[0]
    return name or origin


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


RUNTIME = OpenVINO
