"""The truth: ONNX Runtime on the CPU with all optimisations off, one thread."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array


class Reference:
    """A float or QDQ model, run exactly as its ONNX file says; its inner `tensors` can be watched."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str] = ()) -> None:
        self._outputs = list(dict.fromkeys([*(value.name for value in model.graph.output), *tensors]))
        self._session = _session(_with_outputs(model, self._outputs))
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._built_in = _built_in_batch(self._session)

    def run(self, inputs: dict[str, Array], batch: int | None = None) -> dict[str, Array]:
        """Outputs and watched tensors by name, computed `batch` samples at a time (None: all at once).

        A model whose batch is built in gets that many at a time; the last are repeated to fill it, and cut again.
        Raises BadInputError when the inputs do not fit the model.
        """
        if set(inputs) != set(self._inputs):
            given = ", ".join(sorted(inputs)) or "nothing"
            raise BadInputError(f"the model takes {', '.join(self._inputs)}; got {given}")
        batch = self._built_in or batch
        if batch is None:
            return self._run(inputs)
        counts = {len(array) for array in inputs.values() if array.ndim}
        if len(counts) > 1:
            raise BadInputError("the inputs differ in their number of samples")
        starts = range(0, max([*counts, 1]), batch)
        parts = [
            self._part({name: _rows(array, slice(i, i + batch)) for name, array in inputs.items()}) for i in starts
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, inputs: dict[str, Array]) -> dict[str, Array]:
        given = min(len(array) for array in inputs.values() if array.ndim)
        if self._built_in is None or not 0 < given < self._built_in:
            return self._run(inputs)
        whole = {name: _rows(array, np.arange(self._built_in) % given) for name, array in inputs.items()}
        return {name: value[: len(value) * given // self._built_in] for name, value in self._run(whole).items()}

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base class
            raise BadInputError(f"the model cannot run on these inputs: {_last_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}


def _rows(array: Array, which: slice | Array) -> Array:
    """Some samples; a scalar is for all of them."""
    return array[which] if array.ndim else array


def _built_in_batch(session: onnxruntime.InferenceSession) -> int | None:
    """The first dimension of all inputs that have one, where it is one number."""
    sizes = {value.shape[0] for value in session.get_inputs() if value.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    known = {value.name for value in model.graph.output}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return extended


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is refused is said once, by us
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise BadInputError(f"ONNX Runtime refuses the model: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
