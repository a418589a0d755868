"""Networks that take one sample, such as a sequence (T, C), and no batch: one of a single sample is put before it."""

import numpy as np
import onnx

from edgekd.onnx_graph import Graph
from edgekd.onnx_import.batch_first import rename_result
from edgekd.onnx_import.inputs import Shapes, model_inputs, sizes_of
from edgekd.onnx_import.shapes import declare

TOLD = "it takes one sample at a time: those that were given have a dimension more than its inputs"


def with_batch_of_one(model: onnx.ModelProto, shapes: Shapes) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy whose inputs and outputs begin with a dimension of one, and that in words; else the argument itself.

    Samples say so whose `shapes` have one dimension more than the inputs; an input without has to have known sizes.
    """
    declared = {value.name: sizes_of(value) for value in model_inputs(model)}
    known = {name: shapes.get(name, (1, *(size or 0 for size in sizes))) for name, sizes in declared.items()}
    more = all(len(shape) == len(declared[name]) + 1 and all(shape) for name, shape in known.items())
    if not more or not declared.keys() & shapes.keys():
        return model, ()
    graph = Graph(model)
    first = graph.add_constant("first_axis", np.zeros(1, np.int64))
    for name in known:
        sample = graph.fresh(f"{name}_sample")
        graph.reroute(name, sample)
        graph.add("Squeeze", [name, first], sample)
    for name in graph.outputs:
        sample = graph.fresh(f"{name}_sample")
        rename_result(graph, name, sample)
        graph.add("Unsqueeze", [sample, first], name)
    led = graph.model()
    for value in model_inputs(led):
        declare(value, [1, *known[value.name][1:]])
    for value in led.graph.output:
        sizes = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape"):
            sizes.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=1))
    return led, (TOLD,)
