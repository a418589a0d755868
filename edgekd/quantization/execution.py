"""ONNX models run plainly: ONNX Runtime on the CPU, every optimisation off, one thread."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgekd.errors import BadInputError

Array = NDArray[Any]


class Execution:
    """A model that can be run, and whose inner tensors can be watched (`tensors`)."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str] = ()) -> None:
        self.outputs = list(dict.fromkeys([*(value.name for value in model.graph.output), *tensors]))
        self._session = _session(_with_outputs(model, tensors))
        self.inputs = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Outputs and watched tensors by name; raise BadInputError when the inputs do not fit."""
        missing = sorted(set(self.inputs) ^ set(inputs))
        if missing:
            raise BadInputError(
                f"the model takes {', '.join(self.inputs)}; got {', '.join(sorted(inputs)) or 'nothing'}"
            )
        try:
            values = self._session.run(self.outputs, inputs)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base class
            raise BadInputError(f"the model cannot run on these inputs: {_last_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self.outputs, values, strict=True)}


def _with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    known = {value.name for value in model.graph.output}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in known)
    return extended


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise BadInputError(f"ONNX Runtime refuses the model: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
