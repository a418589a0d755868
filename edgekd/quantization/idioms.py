"""Operations spelled in several nodes or in an unusual word, given the word that placement and the backends know."""

from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, attribute


def name_global_pools(graph: Graph) -> None:
    """Write means over all spatial axes as GlobalAveragePool and Flatten, which more runtimes have in int8."""
    for node in graph.nodes:
        if node.op_type == "ReduceMean" and _is_spatial(graph, node):
            if not attribute(node, "keepdims", 1):
                result = node.output[0]
                graph.set_output(node, 0, graph.fresh(f"{result}_pooled"))
                graph.add("Flatten", [node.output[0]], result, axis=1)
            node.op_type = "GlobalAveragePool"
            graph.set_inputs(node, node.input[:1])
            del node.attribute[:]


def _is_spatial(graph: Graph, node: NodeProto) -> bool:
    axes, shape = graph.constant(node, 1), graph.shapes.get(node.input[0])
    if axes is None or shape is None:
        return False
    return sorted(int(axis) % len(shape) for axis in axes.reshape(-1)) == list(range(2, len(shape)))


def name_clips(graph: Graph) -> None:
    """Write Min(Max(x, low), high), as torch.clamp exports, as Clip."""
    for upper in [node for node in graph.nodes if node.op_type == "Min" and len(node.input) == 2]:
        lower = graph.producer(upper.input[0])
        if lower is None or lower.op_type != "Max" or len(lower.input) != 2:
            continue
        bounds = [graph.constant(lower, 1), graph.constant(upper, 1)]
        if graph.only_consumer(lower.output[0]) is upper and all(_is_scalar(bound) for bound in bounds):
            graph.remove(lower)
            operands = [
                graph.add_constant(f"{upper.output[0]}_bound", bound.reshape(()))
                for bound in bounds
                if bound is not None
            ]
            upper.op_type = "Clip"
            graph.set_inputs(upper, [lower.input[0], *operands])


def _is_scalar(value: Array | None) -> bool:
    return value is not None and value.size == 1
