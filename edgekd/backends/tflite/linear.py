"""Gemm and MatMul: FULLY_CONNECTED with constant weights, BATCH_MATMUL otherwise."""

from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.convolution import activation, bias, refuses_weights, reordered_weight
from edgekd.backends.tflite.graph import Graph, Node
from edgekd.backends.tflite.rules import Layout, rule
from edgekd.backends.tflite.writer import Writer


def _output_axis(node: Node) -> int:
    return 0 if node.op == "Gemm" and node.attributes.get("transB", 0) else 1


def _refuses_int8(node: Node, graph: Graph) -> str | None:
    weight = graph.tensors[node.inputs[1]]
    if node.op == "MatMul" and weight.data is None:
        return None
    quantisation = weight.quantisation
    if quantisation is not None and quantisation.scale.size > 1 and quantisation.axis != _output_axis(node):
        return "its weights are quantised along an axis that is not the output"
    return refuses_weights(node, graph)


@rule("Gemm", "MatMul", layout=Layout.ORDERED, operands=None, refuses_int8=_refuses_int8, fuses=True)
def linear(writer: Writer, node: Node) -> None:
    """Weights are stored (outputs, inputs)."""
    weight = writer.graph.tensors[node.inputs[1]]
    if node.op == "MatMul" and (weight.data is None or weight.rank != 2):
        return _batch_matmul(writer, node)
    for name, plain in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if node.attributes.get(name, plain) != plain:
            node.refuse(f"attribute {name}={node.attributes[name]:g} has no TFLite form")
    axis = _output_axis(node)
    outputs = writer.graph.required(node, 1).shape[axis]
    _check_bias(writer, node, outputs)
    kernel = reordered_weight(writer, node, (0, 1) if axis == 0 else (1, 0))
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation(node)
    options.keepNumDims = writer.tensor(node.inputs[0]).rank > 2
    writer.op("FULLY_CONNECTED", [node.inputs[0], kernel, bias(writer, node, outputs)], node.output, options)
    return None


def _check_bias(writer: Writer, node: Node, outputs: int) -> None:
    values = writer.graph.value(node, 2)
    if values is not None and values.shape != (outputs,):
        node.refuse(f"input 2 must have shape ({outputs},), not {values.shape}")


def _batch_matmul(writer: Writer, node: Node) -> None:
    fused = node.attributes.get("activation")
    product = writer.like(node.output, f"{node.output}:product") if fused else node.output
    writer.op("BATCH_MATMUL", node.inputs, product, schema.BatchMatMulOptionsT())
    if fused:
        writer.op(fused, [product], node.output)
