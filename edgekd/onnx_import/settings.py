"""Inputs that are settings, such as a sampling rate, made constants of the model: `--set INPUT=VALUE`."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from edgekd.errors import BadInputError
from edgekd.onnx_import.inputs import model_inputs, sizes_of
from edgekd.plugins import nearest

Settings = Mapping[str, float]


def parse_settings(texts: Sequence[str]) -> Settings:
    """`sr=16000` → a number by input name; raise BadInputError for anything else."""
    settings = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            settings[name] = float({"true": "1", "false": "0"}.get(number.lower(), number))
        except ValueError:
            name = ""
        if not name or not np.isfinite(settings[name]):
            raise BadInputError(f"--set {text!r}: expected an input's name and a number, as in sr=16000")
    return settings


def bake(model: onnx.ModelProto, settings: Settings) -> onnx.ModelProto:
    """A copy in which each named input is a constant of its type and shape, one element where a size is free.

    Raises BadInputError for a name that is no input, and for a number that its type cannot hold.
    """
    if not settings:
        return model
    values = {value.name: value for value in model_inputs(model)}
    baked = onnx.ModelProto()
    baked.CopyFrom(model)
    for name, number in settings.items():
        if name not in values:
            raise BadInputError(f"--set names {name!r}, which is no input{nearest(name, values)}")
        baked.graph.initializer.append(numpy_helper.from_array(_constant(values[name], number), name))
    kept = [value for value in baked.graph.input if value.name not in settings]
    if not kept:
        raise BadInputError("--set leaves the model no input")
    del baked.graph.input[:]
    baked.graph.input.extend(kept)
    return baked


def _constant(value: onnx.ValueInfoProto, number: float) -> np.ndarray:
    kind = value.type.tensor_type.elem_type
    dtype = np.dtype(tensor_dtype_to_np_dtype(kind)) if kind else np.dtype(np.float32)
    with np.errstate(all="ignore"):
        array = np.full([size or 1 for size in sizes_of(value)], number).astype(dtype)
    if dtype.kind not in "biuf" or not np.allclose(array.astype(float), number, rtol=1e-3):
        raise BadInputError(f"--set {value.name}={number:g}: its type is {dtype.name}")
    return array
