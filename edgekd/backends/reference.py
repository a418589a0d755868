"""The truth that every backend is held against: ONNX Runtime with all optimisations off, on one CPU thread."""

from collections.abc import Sequence

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph
from edgekd.quantization.execution import Array, Execution


class Reference:
    """A float or QDQ model, run exactly as its ONNX file says."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._executions: dict[tuple[str, ...], Execution] = {}

    def run(self, inputs: dict[str, Array], batch: int | None = None, tensors: Sequence[str] = ()) -> dict[str, Array]:
        """Outputs by name, and the inner `tensors` asked for; `batch` samples at a time (None: all at once).

        Raises BadInputError when the inputs do not fit the model.
        """
        execution = self._execution(tuple(tensors))
        count = len(next(iter(inputs.values()), ()))
        size = batch or max(count, 1)
        if any(len(array) != count for array in inputs.values()):
            raise BadInputError("the inputs differ in their number of samples")
        parts = [
            execution.run({name: array[start : start + size] for name, array in inputs.items()})
            for start in range(0, max(count, 1), size)
        ]
        return (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if len(parts) > 1 else parts[0]
        )

    def _execution(self, tensors: tuple[str, ...]) -> Execution:
        if tensors not in self._executions:
            self._executions[tensors] = Execution(self._model, tensors)
        return self._executions[tensors]


def output_steps(model: onnx.ModelProto) -> dict[str, float | None]:
    """For each output the scale of the quantiser that makes it; None where the output stays float."""
    graph = Graph(model)
    return {name: _step(graph, name) for name in graph.outputs}


def _step(graph: Graph, output: str) -> float | None:
    producer = graph.producer(output)
    if producer is None or producer.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
        return None
    scale = graph.constant(producer, 1)
    return None if scale is None else float(scale.reshape(()))
