"""Samples for a model's inputs: read, checked against what it declares, or made up."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from edgekd.data.npz import map_npz, read_npz_shapes
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph
from edgekd.reading import reading

Arrays = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]


def parse_shapes(texts: Sequence[str]) -> Shapes:
    """`input=1,3,224,224` → shapes by input name; raise BadInputError for anything else."""
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", sizes):
            raise BadInputError(f"--shape {text!r}: expected an input's name and its sizes, as in input=1,3,224,224")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What a model takes, without initialisers that are listed as inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def sizes_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """Declared dimensions; None where one is free (exporters write a name, nothing, 0 or -1)."""
    return [dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim]


def read_inputs(model: onnx.ModelProto, path: Path, limit: int, batch_axes: Mapping[str, int] | None = None) -> Arrays:
    """Model inputs by name from an npz (one array of any name fits a model of one input), at most `limit` samples.

    `batch_axes` say where an array has its samples, if not in its first dimension, to which they are moved.
    Raises BadInputError for arrays whose names, type, shape or values do not fit.
    """
    return fitted_inputs(model, map_npz(path), path, limit, batch_axes)


def fitted_inputs(
    model: onnx.ModelProto,
    arrays: Mapping[str, Array],
    path: Path,
    limit: int,
    batch_axes: Mapping[str, int] | None = None,
) -> Arrays:
    """The same of arrays that are there; `path` is what errors name."""
    wanted = {value.name: value for value in model_inputs(model)}
    if len(wanted) == len(arrays) == 1:
        arrays = dict(zip(wanted, arrays.values(), strict=True))
    if set(wanted) - set(arrays):
        raise BadInputError(f"{path}: needs arrays {', '.join(wanted)}; there is: {', '.join(arrays) or 'nothing'}")
    axes = batch_axes or {}
    with reading(path, "inputs of the model"):
        few = {name: _first(arrays[name], limit, axes.get(name, 0)) for name in wanted}
        inputs = {name: _checked(few[name], value) for name, value in wanted.items()}
        _require_samples(inputs)
    return inputs


def shapes_in(model: onnx.ModelProto, path: Path) -> Shapes:
    """The shapes of the arrays that `read_inputs` would take, samples included, as far as they are there."""
    wanted, found = {value.name for value in model_inputs(model)}, read_npz_shapes(path)
    if len(wanted) == len(found) == 1:
        return dict(zip(wanted, found.values(), strict=True))
    return {name: shape for name, shape in found.items() if name in wanted}


def _first(array: Array, limit: int, axis: int) -> Array:
    """At most `limit` samples, moved to the first axis; the rest, which nothing looks at, may stay in the file."""
    if 0 < axis < array.ndim:
        return np.ascontiguousarray(np.moveaxis(array, axis, 0)[:limit])
    return np.require(array[:limit], requirements="A") if array.ndim else array


def _checked(array: Array, value: onnx.ValueInfoProto) -> Array:
    array = _typed(array, value)
    declared = sizes_of(value)
    fits = array.ndim == len(declared) and all(
        size in {None, given} for size, given in zip(declared[1:], array.shape[1:], strict=True)
    )
    if not fits:
        shown = ", ".join("any" if size is None else str(size) for size in ["batch", *declared[1:]])
        raise BadInputError(f"{value.name} has shape {array.shape}; the model takes ({shown})")
    return array


def _typed(array: Array, value: onnx.ValueInfoProto) -> Array:
    dtype, name = input_dtype(value), value.name
    if dtype.kind == "f":
        if array.dtype.kind != "f":
            raise BadInputError(f"{name} is {array.dtype}; model inputs are {dtype}, already preprocessed")
        with np.errstate(over="ignore"):
            array = array.astype(dtype, copy=False)
        if not np.isfinite(array).all():
            raise BadInputError(f"{name} holds values that are not finite")
        return array
    if array.dtype.kind not in ("b" if dtype.kind == "b" else "iu"):
        raise BadInputError(f"{name} is {array.dtype}; the model takes {dtype}")
    if not (array.astype(dtype) == array).all():
        raise BadInputError(f"{name} holds values that {dtype} cannot")
    return array.astype(dtype, copy=False)


def input_dtype(value: onnx.ValueInfoProto) -> np.dtype:
    """Type of an input; raise BadInputError for one that no bundle holds."""
    kind = value.type.tensor_type.elem_type
    dtype = np.dtype(tensor_dtype_to_np_dtype(kind)) if value.type.HasField("tensor_type") and kind else None
    if dtype is None or dtype.name not in {"float32", "int32", "int64", "bool", "int8", "uint8"}:
        shown = "not a tensor" if dtype is None else dtype.name
        raise BadInputError(f"input {value.name!r} is {shown}: export the model with float32 or integer tensors")
    if not value.type.tensor_type.shape.dim:
        raise BadInputError(f"input {value.name!r} has no batch dimension: bake it in with --set {value.name}=VALUE")
    return dtype


def _require_samples(inputs: Arrays) -> None:
    counts = {len(array) for array in inputs.values()}
    if len(counts) > 1:
        raise BadInputError("the arrays differ in their number of samples")
    if not all(array.size for array in inputs.values()):
        raise BadInputError("calibration needs at least one sample")
    floats = [array for array in inputs.values() if array.dtype.kind == "f"]
    if floats and all(array.min() == array.max() for array in floats):
        raise BadInputError("every value is the same: calibration needs real inputs")


def random_inputs(model: onnx.ModelProto, count: int) -> Arrays:
    """Noise that fills what the input quantisers can hold; for a QDQ model that came without data."""
    random, graph = np.random.default_rng(0), Graph(model)
    arrays: Arrays = {}
    for value in model_inputs(model):
        shape = [size or count for size in sizes_of(value)]
        reader = next((node for node in graph.consumers(value.name) if node.op_type == "QuantizeLinear"), None)
        scale, zero_point = (graph.constant(reader, index) if reader else None for index in (1, 2))
        if scale is None or zero_point is None:
            raise BadInputError(f"input {value.name!r} has no quantiser: --calibration X.npz is needed to prove parity")
        stored = random.integers(np.iinfo(zero_point.dtype).min, np.iinfo(zero_point.dtype).max, shape, endpoint=True)
        arrays[value.name] = ((stored - int(zero_point)) * scale).astype(np.float32)
    return arrays
