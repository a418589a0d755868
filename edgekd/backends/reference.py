"""What every backend is held against: the reference, and the steps that a distance from it is counted in."""

import onnx

from edgekd.backends import find_backend
from edgekd.onnx_graph import Graph
from edgekd.quantization.qdq import step_of
from edgekd.quantization.reference import Reference

__all__ = ["Reference", "output_steps", "reference_graph"]


def reference_graph(model: onnx.ModelProto, backend: str) -> onnx.ModelProto:
    """The graph whose outputs a backend's are held against: the model, with what the backend's arithmetic changes."""
    change = getattr(find_backend(backend), "as_computed", None)
    return change(model) if change else model


def output_steps(model: onnx.ModelProto) -> dict[str, float | None]:
    """For each output the step of the quantiser that makes it; None where the output stays float."""
    graph = Graph(model)
    return {name: step_of(graph, name) for name in graph.outputs}
