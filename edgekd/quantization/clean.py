"""A foreign or freshly exported ONNX model made plain: what placement, folding and the backends may rely on."""

import onnx
from onnx import NodeProto, TensorProto, helper, version_converter

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Graph, check, inferred
from edgekd.onnx_node import evaluate
from edgekd.quantization.constant_rows import shrink_constant_rows
from edgekd.quantization.einsum import write_out_einsums
from edgekd.quantization.fold import fold_batch_norms, fold_linear_layers, layer_name
from edgekd.quantization.functions import name_functions
from edgekd.quantization.graph_ir import WEIGHTED
from edgekd.quantization.idioms import (
    name_clips,
    name_global_pools,
    name_prepended_constants,
    name_splits,
    name_squeezes,
    name_sums,
)
from edgekd.quantization.reshape import fix_reshapes

MIN_OPSET = 18


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equivalent model: opset ≥ 18, constants evaluated, batch norms folded, linear layers as Gemm(transB=1).

    Shapes are inferred, the batch dimension is named "batch", every layer owns its constants.
    The argument is untouched. Raises BadInputError when it is not a valid model, or has control flow.
    """
    graph = Graph(_inferred(_modern(model)))
    _strip(graph)
    _fold_constants(graph)
    name_splits(graph)
    name_sums(graph)
    write_out_einsums(graph)
    shrink_constant_rows(graph)
    _fold_constants(graph)
    _drop_no_ops(graph)
    fold_batch_norms(graph)
    graph = Graph(_inferred(graph.model()))
    fold_linear_layers(graph)
    name_functions(graph)
    name_global_pools(graph)
    name_squeezes(graph)
    name_clips(graph)
    unshare(graph)
    _name_layers(graph)
    graph = Graph(_inferred(fix_reshapes(_named_batch(graph.model()))))
    name_prepended_constants(graph)
    return _inferred(graph.model())


def unshare(graph: Graph) -> None:
    """Give every operand of every node a constant of its own; OpenVINO drops layers to bf16 that share a zero point."""
    taken: set[str] = set()
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            if name in taken:
                graph.set_input(node, index, graph.add_constant(name, graph.constants[name]))
            elif name in graph.constants:
                taken.add(name)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), MIN_OPSET)
    if opset >= MIN_OPSET:
        return model
    try:
        return version_converter.convert_version(model, MIN_OPSET)
    except (RuntimeError, ValueError) as error:
        raise BadInputError(f"the ONNX model has opset {opset} and does not convert to {MIN_OPSET}: {error}") from error


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    check(model)
    return inferred(model)


def _strip(graph: Graph) -> None:
    """Drop notes about where the model was made; name what has no name."""
    for node in graph.nodes:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise BadInputError(f"{node.op_type} {node.name!r}: models with control flow are not supported")
        node.doc_string = ""
        del node.metadata_props[:]
        node.name = node.name or graph.fresh(node.op_type)


def _fold_constants(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type == "CastLike" and node.input[0] in graph.constants:
            _cast_like(graph, node)
        elif (
            node.op_type not in QUANTIZERS
            and node.output
            and all(name in graph.constants for name in node.input if name)
        ):
            _evaluate(graph, node)


def _cast_like(graph: Graph, node: NodeProto) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(graph.types.get(node.input[1], TensorProto.FLOAT))
    graph.constants[node.output[0]] = graph.constants[node.input[0]].astype(dtype)
    graph.remove(node)


def _evaluate(graph: Graph, node: NodeProto) -> None:
    feeds = {name: graph.constants[name] for name in node.input if name}
    results = evaluate(node, feeds)
    if node.op_type == "Transpose" and graph.only_consumer(node.input[0]) is node:
        graph.reroute(node.output[0], node.input[0])  # a layer is known by the name of its weight
        graph.set_output(node, 0, node.input[0])
    graph.constants.update(zip(filter(None, node.output), results.values(), strict=True))
    graph.remove(node)


def _drop_no_ops(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type in {"Identity", "Dropout"} and not any(graph.consumers(edge) for edge in node.output[1:]):
            graph.bypass(node)


def _name_layers(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type in WEIGHTED and layer_name(node) != node.name:
            node.name = graph.fresh(layer_name(node))


def _named_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"
    return model
