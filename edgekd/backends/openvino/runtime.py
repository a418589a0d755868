"""OpenVINO on the device."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Callable, ClassVar, Dict, List, Set, Tuple

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle, batched
from edgekd.runner.errors import RunnerError
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


class OpenVINO(Runtime):
    """OpenVINO IR. Float arithmetic is held to f32 unless `precision=default`, which may pick bf16 or f16."""

    OPTIONS: ClassVar[Options] = {"precision": ("f32", "default"), "device": None}
    TOLERANCE: ClassVar[Dict[str, float]] = {"p999_steps": 4.0, "agreement": 0.99}
    SUFFIX = ".xml"
    SATURATES = True
    WEIGHTED: ClassVar[Set[str]] = {
        *("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "Gemm"),
    }

    def __init__(self, options: Dict[str, str]) -> None:
        super().__init__(options)
        self.module = import_first(["openvino"], "OpenVINO is not installed: pip install openvino")
        self.version = package_version("openvino", self.module)

    def tensors(self, model: Path) -> Tuple[Tensors, Tensors]:
        """As the IR lists them; its weights lie beside it."""
        read = self.module.Core().read_model(str(model), str(model.with_suffix(".bin")))
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

    def details(self) -> Dict[str, str]:
        """The precision that float operators run in, and the devices chosen."""
        precision = self.compiled.get_property("INFERENCE_PRECISION_HINT")
        devices = self.compiled.get_property("EXECUTION_DEVICES")
        return {"precision": precision.get_type_name(), "device": ",".join(devices)}


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


RUNTIME = OpenVINO
