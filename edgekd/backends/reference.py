"""What every backend is held against: the reference, and the steps that a distance from it is counted in."""

import onnx

from edgekd.onnx_graph import Graph
from edgekd.quantization.qdq import step_of
from edgekd.quantization.reference import Reference

__all__ = ["Reference", "output_steps"]


def output_steps(model: onnx.ModelProto) -> dict[str, float | None]:
    """For each output the step of the quantiser that makes it; None where the output stays float."""
    graph = Graph(model)
    return {name: step_of(graph, name) for name in graph.outputs}
