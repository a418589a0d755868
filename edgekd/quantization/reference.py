"""The truth: ONNX Runtime on the CPU, one thread, with all optimisations off."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx
import onnxruntime

from edgekd.errors import BadInputError, UnfitInputsError
from edgekd.onnx_graph import Array, Graph, shapes_of
from edgekd.quantization.factors import like_signed

MOST_BYTES = 1 << 26  # that the tensors of a batch may take together
LARGE, FEWEST = 1 << 22, 2  # bytes of a sample, and how many of such do where a few are looked at
ALIVE = 3  # as many of its largest tensors as a model holds at once


class Reference:
    """A float or QDQ model, run exactly as its ONNX file says; its inner `tensors` can be watched.

    `inputs` are the names of what it takes. `fused` lets ONNX Runtime fuse what it computes in float, which is faster,
    and off by rounding errors of float32.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str] = (), *, fused: bool = False) -> None:
        self._model = model
        self._outputs = list(dict.fromkeys([*(value.name for value in model.graph.output), *tensors]))
        self._session = _session(_with_outputs(model, self._outputs), fused)
        self.inputs = [value.name for value in self._session.get_inputs()]
        self._built_in = _built_in_batch(self._session)

    def run(self, inputs: dict[str, Array], batch: int | None = None) -> dict[str, Array]:
        """Outputs and watched tensors by name, computed `batch` samples at a time (None: all at once).

        A model whose batch is built in gets that many at a time; the last are repeated to fill it, and cut again.
        Raises BadInputError when the inputs do not fit the model.
        """
        self._check(inputs)
        batch = self._built_in or batch
        if batch is None:
            return self._run(inputs)
        return joined([dict(outputs) for _, outputs in self.parts(inputs, batch)])

    def parts(self, inputs: dict[str, Array], batch: int) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """The same part after part, each with its inputs: `batch` samples, or as many as memory may be taken for.

        The outputs of a part are taken out of their dictionary before the next is computed.
        """
        self._check(inputs)
        count, step = _count(inputs), self.at_once(inputs, batch)
        for start in range(0, count, step):
            part = {name: _rows(array, slice(start, start + step)) for name, array in inputs.items()}
            made = self._part(part)
            yield part, made
            made.clear()

    def at_once(self, inputs: dict[str, Array], batch: int) -> int:
        """Return how many samples a part holds where `batch` are asked for."""
        return self._built_in or self._affordable(min(batch, _count(inputs)))

    def _check(self, inputs: dict[str, Array]) -> None:
        if set(inputs) != set(self.inputs):
            given = ", ".join(sorted(inputs)) or "nothing"
            raise BadInputError(f"the model takes {', '.join(self.inputs) or 'no inputs'}; got {given}")

    def _affordable(self, batch: int) -> int:
        """As many samples, at most `batch`, as the watched tensors and those alive take memory for."""
        return batch if batch == 1 else max(1, min(batch, MOST_BYTES // self._bytes_per_sample))

    @cached_property
    def _bytes_per_sample(self) -> int:
        try:
            shapes = shapes_of(self._model)
        except BadInputError:  # it may run all the same
            shapes = Graph(self._model).shapes
        sizes = {name: 4 * math.prod(size or 1 for size in shape[1:]) for name, shape in shapes.items() if shape}
        return ALIVE * max(sizes.values(), default=1) + sum(sizes.get(name, 0) for name in self._outputs)

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
            raise UnfitInputsError(f"the model cannot run on these inputs: {_last_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}


def joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Return the outputs of all samples from those of parts of them."""
    if len(parts) == 1:
        return parts[0]
    require_alike([{name: value.shape[1:] for name, value in part.items()} for part in parts])
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def require_alike(shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> None:
    """Raise BadInputError for what has another shape for other samples; `shapes` are by name, of one part each."""
    for name, shape in shapes[0].items():
        other = next((part[name] for part in shapes if part[name] != shape), shape)
        if other != shape:
            raise BadInputError(
                f"{name!r} has shape {shape} for some samples and {other} for others: export the network without what "
                "picks elements by their values (NonZero, NonMaxSuppression, Unique), and pick them on the device"
            )


def large(inputs: Mapping[str, Array]) -> bool:
    """Whether samples take so much each that some have to do where more are usual."""
    return sum(array[:1].nbytes for array in inputs.values()) >= LARGE


def few(inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """The first samples: so many, of large ones two."""
    return {name: array[: min(FEWEST, count) if large(inputs) else count] for name, array in inputs.items()}


def _count(inputs: dict[str, Array]) -> int:
    counts = {len(array) for array in inputs.values() if array.ndim}
    if len(counts) > 1:
        raise BadInputError("the inputs differ in their number of samples")
    return max([*counts, 1])


def _rows(array: Array, which: slice | Array) -> Array:
    """Some samples; a scalar is for all of them."""
    return array[which] if array.ndim else array


def _built_in_batch(session: onnxruntime.InferenceSession) -> int | None:
    """The first dimension of all inputs that have one, where it is one number."""
    sizes = {value.shape[0] for value in session.get_inputs() if value.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    more = set(names) - {value.name for value in model.graph.output}
    if not more:
        return model
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name in more)
    return extended


def _session(model: onnx.ModelProto, fused: bool) -> onnxruntime.InferenceSession:
    try:
        content = like_signed(model).SerializeToString()
        return onnxruntime.InferenceSession(content, _options(fused), providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise BadInputError(f"ONNX Runtime refuses the model: {_last_line(error)}") from error


def _options(fused: bool) -> onnxruntime.SessionOptions:
    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # quantisers stay what they are
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep what the largest run took, once for each model alive
    options.log_severity_level = 4  # what is refused is said once, by us
    return options


def _last_line(error: Exception) -> str:
    """What ONNX Runtime complains of; for inputs that do not fit, over several lines, the last of them advice."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:-1]) if lines[-1].startswith("Please fix") else lines[-1]
