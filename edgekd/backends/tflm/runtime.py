"""TFLite-Micro on a host that stands in for the device."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from typing import Any, ClassVar, Dict, Optional, Set

import numpy as np

from edgekd.runner.bundle import Arrays, Bundle
from edgekd.runner.errors import RunnerError, first_line
from edgekd.runner.runtime import Runtime, c_messages, counted, import_first, package_version


class TFLiteMicro(Runtime):
    """TFLite-Micro's interpreter with its reference kernels: a microcontroller's results, but not its time."""

    TOLERANCE: ClassVar[Dict[str, float]] = {"max_steps": 4.0, "agreement": 0.99}
    WEIGHTED: ClassVar[Set[str]] = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"}
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

    def operator_coverage(self) -> Dict[str, Any]:
        """An op is int8 when its weights and its output are."""
        schema = self.module.schema_fb
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        model = self.module.convert_bytearray_to_object(self.content)
        graph = model.subgraphs[0]
        int8 = [tensor.type == schema.TensorType.INT8 for tensor in graph.tensors]
        nodes = [(names[model.operatorCodes[op.opcodeIndex].builtinCode], op) for op in graph.operators]
        weighted = [int8[op.inputs[1]] and int8[op.outputs[0]] for name, op in nodes if name in self.WEIGHTED]
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


RUNTIME = TFLiteMicro
