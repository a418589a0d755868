"""States and sequences whose batch is not their first dimension, taken and given batch first."""

from collections.abc import Mapping

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph, at_batch, shapes_of
from edgekd.onnx_import.inputs import Arrays, model_inputs, sizes_of
from edgekd.onnx_import.shapes import declare
from edgekd.quantization.reference import Reference

Place = tuple[int, int]  # which dimension of how many


def batch_axis(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> int:
    """Which dimension of an input or output is the batch: the one that is called or sized as the first input's first.

    0 where nothing says otherwise.
    """
    dims, batch = value.type.tensor_type.shape.dim, _batch(model)
    if batch is None or not dims:
        return 0
    if batch.dim_value > 0:
        alike = [index for index, dim in enumerate(dims) if dim.dim_value == batch.dim_value]
    elif batch.dim_param and any(dim.dim_param == batch.dim_param for dim in dims):
        return next(index for index, dim in enumerate(dims) if dim.dim_param == batch.dim_param)
    else:
        others = _other_names(model)
        alike = [index for index, dim in enumerate(dims) if dim.dim_value <= 0 and dim.dim_param not in others]
    return alike[0] if alike and dims[0].dim_value > 0 else 0


def inputs_batch_first(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy whose inputs all have their batch first, and what was moved, in words."""
    return _moved(model, {value.name: _place(model, value) for value in model_inputs(model)})


def outputs_batch_first(model: onnx.ModelProto, inputs: Arrays | None) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The same for outputs, of a model that takes its inputs batch first.

    Where an output's shape leaves open which dimension is the batch, some of the inputs show it.
    """
    places = {value.name: _place(model, value) for value in model.graph.output}
    batch = _batch(model)
    unclear = [value.name for value in model.graph.output if not _says(value, batch)]
    if unclear and inputs and (batch is None or batch.dim_value <= 0) and min(map(len, inputs.values())) > 1:
        places |= {name: place for name, place in _seen(model, inputs).items() if name in unclear}
    return _moved(model, places)


def rows_by_sample(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    """A copy whose outputs that hold several rows a sample, or no dimension for the only one, get a dimension for it.

    `feeds` hold some samples, of a model that takes and gives them first.
    """
    count = min(map(len, feeds.values()))
    shapes = _output_shapes(model, count) or {name: made.shape for name, made in Reference(model).run(feeds).items()}
    wanted = {name: (shape or (1,))[0] // count for name, shape in shapes.items() if not shape or shape[0] != count}
    if not wanted:
        return model
    graph = Graph(model)
    for name, rows in wanted.items():
        if name in graph.constants:
            raise BadInputError(f"output {name!r} is a constant, whatever the model is given")
        if rows * count != (shapes[name] or (1,))[0]:
            raise BadInputError(
                f"output {name!r} has shape {shapes[name]} for {count} samples: it needs one row for each"
            )
        inner, sizes = graph.fresh(f"{name}_rows"), [-1, *([rows] if shapes[name] else []), *shapes[name][1:]]
        rename_result(graph, name, inner)
        graph.add("Reshape", [inner, graph.add_constant(f"{name}_sizes", np.array(sizes, np.int64))], name)
    changed = graph.model()
    for value in changed.graph.output:
        if value.name in wanted:
            sizes = [wanted[value.name]] if shapes[value.name] else []
            declare(value, [sizes_of(changed.graph.input[0])[0], *sizes, *shapes[value.name][1:]])
    return changed


def _output_shapes(model: onnx.ModelProto, count: int) -> dict[str, tuple[int, ...]]:
    """Those that so many samples give, as inference knows them; none where it does not know them all."""
    try:
        known = shapes_of(at_batch(model, count))
    except BadInputError:  # it may run all the same
        return {}
    found = {value.name: known.get(value.name, (None,)) for value in model.graph.output}
    shapes = {name: tuple(size for size in shape if size is not None) for name, shape in found.items()}
    return shapes if shapes == found else {}


def _place(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> Place:
    return batch_axis(model, value), len(value.type.tensor_type.shape.dim)


def _batch(model: onnx.ModelProto) -> onnx.TensorShapeProto.Dimension | None:
    first = next((value for value in model_inputs(model) if value.type.tensor_type.shape.dim), None)
    return None if first is None else first.type.tensor_type.shape.dim[0]


def _other_names(model: onnx.ModelProto) -> set[str]:
    """Dimensions of the first input that are called something, and are not its batch."""
    first = next(value for value in model_inputs(model) if value.type.tensor_type.shape.dim)
    batch, *others = (dim.dim_param for dim in first.type.tensor_type.shape.dim)
    return {name for name in others if name != batch} - {""}


def _says(value: onnx.ValueInfoProto, batch: onnx.TensorShapeProto.Dimension | None) -> bool:
    """Whether an output's own shape names the batch."""
    dims = value.type.tensor_type.shape.dim
    return batch is not None and bool(batch.dim_param) and any(dim.dim_param == batch.dim_param for dim in dims)


def _seen(model: onnx.ModelProto, inputs: Arrays) -> dict[str, Place]:
    """Where each output of two samples has twice what it has of one; nothing of a model that cannot take two."""
    reference = Reference(model)
    one, two = ({name: array[:count] for name, array in inputs.items()} for count in (1, 2))
    try:
        shapes = [{name: value.shape for name, value in reference.run(some).items()} for some in (one, two)]
    except BadInputError:
        return {}
    pairs = {name: list(zip(shape, shapes[1][name], strict=False)) for name, shape in shapes[0].items()}
    return {name: (next((i for i, (a, b) in enumerate(p) if a != b), 0), len(p)) for name, p in pairs.items()}


def _moved(model: onnx.ModelProto, places: Mapping[str, Place]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    places = {name: (axis, rank) for name, (axis, rank) in places.items() if axis}
    if not places:
        return model, ()
    values = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    sizes = {name: sizes_of(values[name]) for name in places}
    graph = Graph(model)
    for name, (axis, rank) in places.items():
        order = [axis, *(index for index in range(rank) if index != axis)]
        inner = graph.fresh(f"{name}_batch_{axis}")
        if name in graph.inputs:
            graph.reroute(name, inner)
            graph.add("Transpose", [name], inner, perm=np.argsort(order).tolist())
        else:
            rename_result(graph, name, inner)
            graph.add("Transpose", [inner], name, perm=order)
    changed = graph.model()
    for value in (*changed.graph.input, *changed.graph.output):
        if sizes.get(value.name):
            axis, known = places[value.name][0], sizes[value.name]
            declare(value, [known[axis], *known[:axis], *known[axis + 1 :]])
    shown = ", ".join(f"{name!r} (at {axis})" for name, (axis, _) in places.items())
    return changed, (f"batch first here, not where the model has it: {shown}",)


def rename_result(graph: Graph, name: str, inner: str) -> None:
    """Let what makes an output make `inner` instead, for all that read it."""
    maker = graph.producer(name)
    graph.reroute(name, inner)
    if maker is not None:
        graph.set_output(maker, list(maker.output).index(name), inner)
