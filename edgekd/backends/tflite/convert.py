"""The passes in order: read, simplify, collapse QDQ, arrange in NHWC, write."""

from dataclasses import dataclass, replace

import onnx

from edgekd.backends.compiled import Precision
from edgekd.backends.tflite import (  # noqa: F401 each registers its rules
    activations,
    convolution,
    elementwise,
    gathering,
    grid_sample,
    indexing,
    linear,
    pooling,
    reduction,
    resampling,
    shaping,
    transposed,
)
from edgekd.backends.tflite.graph import Graph
from edgekd.backends.tflite.layout import arrange
from edgekd.backends.tflite.qdq import collapse, integer_borders
from edgekd.backends.tflite.reader import read
from edgekd.backends.tflite.rules import RULES
from edgekd.backends.tflite.simplify import simplify
from edgekd.backends.tflite.weights import narrow
from edgekd.backends.tflite.writer import Writer
from edgekd.bundle import TensorSpec
from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS
from edgekd.target import Target


@dataclass(frozen=True)
class Converted:
    """A .tflite file's content and its outer specification."""

    content: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...]


def convert(model: onnx.ModelProto, target: Target, precision: Precision, *, fixed_batch: bool = False) -> Converted:
    """Lower a model; raise BadInputError when it is not of `precision` or holds an op without a TFLite form."""
    graph = read(model, target.batch)
    if fixed_batch:
        graph.fixed_batch = True
        graph.tensors = {name: replace(tensor, signature=tensor.shape) for name, tensor in graph.tensors.items()}
    simplify(graph)
    quantised = any(node.op in QUANTIZERS for node in graph.nodes)
    if quantised != (precision == "int8"):
        raise BadInputError(f"precision {precision} needs a model {'with' if precision == 'int8' else 'without'} Q/DQ")
    if quantised:
        collapse(graph)
        if target.io == "int8":
            integer_borders(graph)
    nhwc = arrange(graph)
    writer = Writer(graph)
    for node in graph.nodes:
        RULES[node.op].emit(writer, node)
    narrow(writer, precision)
    inputs = tuple(_spec(graph, name, nhwc) for name in graph.inputs)
    outputs = tuple(_spec(graph, name, nhwc) for name in graph.outputs)
    return Converted(writer.finish(), inputs, outputs, tuple(graph.notes))


def _spec(graph: Graph, name: str, nhwc: set[str]) -> TensorSpec:
    tensor = graph.tensors[name]
    shape = tuple(None if size < 0 else size for size in tensor.signature)
    quantisation = tensor.quantisation
    return TensorSpec(
        name=name,
        dtype=tensor.dtype.name,  # type: ignore[arg-type]
        shape=shape,
        layout="NHWC" if name in nhwc else None,
        scale=quantisation.scale.item() if quantisation else None,
        zero_point=int(quantisation.zero_point.item()) if quantisation else None,
    )
