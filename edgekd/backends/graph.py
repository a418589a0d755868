"""A small index over an ONNX graph: who makes a tensor, who reads it, which are constants."""

from collections import defaultdict
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class Graph:
    """Read-only view of a model's main graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.tensors |= {node.output[0]: _constant(node) for node in self.nodes if node.op_type == "Constant"}
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.outputs = [output.name for output in model.graph.output]

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Readers of each tensor, in graph order."""
        readers = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                readers[name].append(node)
        return dict(readers)

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """Value of an initialiser or a Constant node; None for a computed tensor."""
        return numpy_helper.to_array(self.tensors[name]) if name in self.tensors else None


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, or the operator's default."""
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def label(node: onnx.NodeProto) -> str:
    """How a node is named in a message: its own name, else the tensor it makes."""
    return node.name or (node.output[0] if node.output else node.op_type)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    name, value = node.attribute[0].name, onnx.helper.get_attribute_value(node.attribute[0])
    if name == "value":
        return value  # type: ignore[no-any-return]
    return numpy_helper.from_array(np.asarray(value, np.float32 if "float" in name else np.int64))
