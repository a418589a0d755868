"""Float16, bfloat16 and float64 models in float32, which is what calibration and the reference compute in."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OTHERS = frozenset({TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT16})
TYPES = frozenset({"dtype", "to"})  # the attributes that name one


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose tensors of other float types are float32: weights, inputs, outputs, casts and inner graphs."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for graph in _graphs(single.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in OTHERS:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        entries = [entry for node in graph.node for entry in node.attribute]
        for tensor in (*graph.initializer, *(entry.t for entry in entries if entry.HasField("t"))):
            if tensor.data_type in OTHERS:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
        for entry in entries:
            if entry.name in TYPES and entry.i in OTHERS:
                entry.i = TensorProto.FLOAT
    return single


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for entry in (entry for node in graph.node for entry in node.attribute):
        for inner in [*([entry.g] if entry.HasField("g") else []), *entry.graphs]:
            yield from _graphs(inner)
