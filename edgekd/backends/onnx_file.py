"""What the backends that deploy an ONNX graph share: its outer specification, and writing it clean."""

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from edgekd.bundle import TensorSpec
from edgekd.errors import BadInputError
from edgekd.onnx_graph import check
from edgekd.target import Target


def tensor_specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a model as ONNX has them (NCHW); raise BadInputError for a dtype that bundles lack."""
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value) for value in model.graph.input if value.name not in initialisers)
    return inputs, tuple(_spec(value) for value in model.graph.output)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = str(np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)))
    if dtype not in get_args(TensorSpec.model_fields["dtype"].annotation):
        raise BadInputError(f"{value.name}: a bundle cannot hold {dtype} tensors")
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    if not sizes or None in sizes[1:]:
        raise BadInputError(f"{value.name}: only the batch, its first dimension, may be dynamic")
    layout = "NCHW" if len(sizes) == 4 else None
    return TensorSpec(name=value.name, dtype=dtype, shape=tuple(sizes), layout=layout)  # type: ignore[arg-type]


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without what exporters leave behind: inner value_info, doc strings, stack traces (with their paths)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ClearField("doc_string")
    copy.graph.ClearField("doc_string")
    copy.graph.ClearField("value_info")
    copy.graph.ClearField("metadata_props")
    for item in (*copy.graph.node, *copy.graph.initializer, *copy.graph.input, *copy.graph.output):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    return copy


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write it without notes; raise BadInputError with the checker's first line."""
    check(model, full=True)
    path.write_bytes(_without_notes(model).SerializeToString(deterministic=True))


def require_float_io(target: Target) -> None:
    """Raise BadInputError when a target asks for integer inputs and outputs of a backend that has none."""
    if target.io != "float":
        raise BadInputError(
            f"target {target.name}: backend {target.backend} has float inputs and outputs: io = 'float'"
        )
