"""Computed Reshape targets replaced by constants, by watching what they are at two batch sizes."""

import numpy as np
import onnx
from onnx import helper

from edgekd.onnx_graph import Array, Graph, set_attribute
from edgekd.quantization.reference import Reference

_BATCHES = (2, 3)


def fix_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give each Reshape a constant target where at most one dimension (then -1) depends on the batch."""
    graph = Graph(model)
    reshapes = [node for node in graph.nodes if node.op_type == "Reshape" and node.input[1] not in graph.constants]
    feeds = [_zeros(model, batch) for batch in _BATCHES]
    if not reshapes or None in feeds:
        return model
    reference = Reference(model, [node.output[0] for node in reshapes])
    first, second = (reference.run(feed) for feed in feeds if feed is not None)
    for node in reshapes:
        sizes = np.array(first[node.output[0]].shape, np.int64)
        moving = sizes != second[node.output[0]].shape
        if moving.sum() <= 1:
            target = np.where(moving, -1, sizes)
            graph.set_input(node, 1, graph.add_constant(f"{node.output[0]}_shape", target))
            set_attribute(node, "allowzero", 0)
    return graph.model()


def _zeros(model: onnx.ModelProto, batch: int) -> dict[str, Array] | None:
    """Inputs that differ in the batch only; None if another dimension is unknown."""
    feeds: dict[str, Array] = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if None in sizes[1:]:
            return None
        shape = [batch if size is None else size for size in sizes]
        feeds[value.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds
