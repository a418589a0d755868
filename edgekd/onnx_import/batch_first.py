"""States and sequences whose batch is not their first dimension, taken and given batch first."""

import numpy as np
import onnx

from edgekd.onnx_graph import Graph, inferred
from edgekd.onnx_import.inputs import model_inputs, sizes_of
from edgekd.onnx_import.shapes import declare


def batch_axis(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> int:
    """Which dimension of an input or output is the batch: the one that is called or sized as the first input's first.

    0 where nothing says otherwise.
    """
    first = next((value for value in model_inputs(model) if value.type.tensor_type.shape.dim), None)
    dims = value.type.tensor_type.shape.dim
    if first is None or not dims:
        return 0
    batch = first.type.tensor_type.shape.dim[0]
    if batch.dim_value > 0:
        alike = [index for index, dim in enumerate(dims) if dim.dim_value == batch.dim_value]
    elif batch.dim_param and any(dim.dim_param == batch.dim_param for dim in dims):
        alike = [index for index, dim in enumerate(dims) if dim.dim_param == batch.dim_param]
    else:
        alike = [index for index, size in enumerate(sizes_of(value)) if size is None]
    return alike[0] if alike and dims[0].dim_value > 0 else 0


def batch_first(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy whose inputs and outputs all have their batch first, and what was moved, in words."""
    values = [*model_inputs(model), *_typed_outputs(model)]
    axes = {value.name: (batch_axis(model, value), sizes_of(value)) for value in values}
    moved = {name: (axis, sizes) for name, (axis, sizes) in axes.items() if axis}
    if not moved:
        return model, ()
    graph = Graph(model)
    for name, (axis, sizes) in moved.items():
        order = [axis, *(index for index in range(len(sizes)) if index != axis)]
        inner = graph.fresh(f"{name}_batch_{axis}")
        if name in graph.inputs:
            graph.reroute(name, inner)
            graph.add("Transpose", [name], inner, perm=np.argsort(order).tolist())
        else:
            _rename_result(graph, name, inner)
            graph.add("Transpose", [inner], name, perm=order)
    changed = graph.model()
    for value in (*changed.graph.input, *changed.graph.output):
        if value.name in moved:
            axis, sizes = moved[value.name]
            declare(value, [sizes[axis], *sizes[:axis], *sizes[axis + 1 :]])
    shown = ", ".join(f"{name!r} (at {axis})" for name, (axis, _) in moved.items())
    return changed, (f"batch first here, not where the model has it: {shown}",)


def _typed_outputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    if all(value.type.tensor_type.shape.dim for value in model.graph.output):
        return list(model.graph.output)
    return list(inferred(model).graph.output)


def _rename_result(graph: Graph, name: str, inner: str) -> None:
    maker = graph.producer(name)
    graph.reroute(name, inner)
    if maker is not None:
        graph.set_output(maker, list(maker.output).index(name), inner)
