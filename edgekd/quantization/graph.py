"""An ONNX graph open for editing: nodes in a list, constants as arrays, order restored at the end."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from edgekd.errors import BadInputError

Array = NDArray[Any]


class Graph:
    """A private copy of a model's main graph; `model()` closes it into a sorted model without what nothing reads."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        values = [*graph.input, *graph.value_info, *graph.output]
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.shapes = {value.name: _shape(value) for value in values if value.type.tensor_type.HasField("shape")}
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self._names = {name for node in self.nodes for name in (node.name, *node.input, *node.output)}

    def producer(self, edge: str) -> NodeProto | None:
        """The node that makes an edge."""
        return next((node for node in self.nodes if edge in node.output), None)

    def consumers(self, edge: str) -> list[NodeProto]:
        """The nodes that read an edge."""
        return [node for node in self.nodes if edge in node.input]

    def only_consumer(self, edge: str) -> NodeProto | None:
        """The one node that reads an edge which nothing else sees."""
        consumers = self.consumers(edge)
        return consumers[0] if len(consumers) == 1 and edge not in self.outputs else None

    def constant(self, node: NodeProto, index: int) -> Array | None:
        """The value of an operand, if there is one and it is constant."""
        return self.constants.get(node.input[index]) if index < len(node.input) else None

    def fresh(self, name: str) -> str:
        """`name`, or the first numbered variant that is not taken; it is taken afterwards."""
        unique, count = name, 0
        while unique in self._names or unique in self.constants:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique

    def add_constant(self, name: str, value: Array) -> str:
        """Store a constant under a fresh name, which is returned."""
        unique = self.fresh(name)
        self.constants[unique] = value
        return unique

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        """Append a node that makes `output`."""
        node = helper.make_node(kind, inputs, [output], name=self.fresh(f"{output}_{kind}"), **attributes)
        self.nodes.append(node)
        return node

    def reroute(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`."""
        for node in self.nodes:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def bypass(self, node: NodeProto) -> None:
        """Remove a node that hands its first input on; graph outputs keep their names."""
        source, edge = node.input[0], node.output[0]
        maker = self.producer(source)
        if edge not in self.outputs:
            self.reroute(edge, source)
        elif maker is None or source in self.outputs:
            return
        else:
            self.reroute(source, edge)
            maker.output[list(maker.output).index(source)] = edge
        self.nodes.remove(node)

    def model(self) -> onnx.ModelProto:
        """The edited model; the graph is not used afterwards."""
        nodes, used = self._live()
        nodes = list(_sorted(nodes, {*self.inputs, *self.constants, ""}))
        graph = self._model.graph
        inputs = [value for value in graph.input if value.name in self.inputs]
        for field in (graph.node, graph.initializer, graph.input, graph.value_info):
            del field[:]
        graph.node.extend(nodes)
        graph.input.extend(inputs)
        graph.initializer.extend(_tensor(name, value) for name, value in self.constants.items() if name in used)
        helper.set_model_props(self._model, self.metadata)
        return self._model

    def _live(self) -> tuple[list[NodeProto], set[str]]:
        """The nodes that outputs depend on, and every name that is read."""
        makers = {edge: node for node in self.nodes for edge in node.output if edge}
        used: set[str] = set()
        waiting = list(self.outputs)
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                waiting.extend(makers[name].input if name in makers else ())
        return [node for node in self.nodes if used & set(node.output)], used


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Replace or add a node's attribute."""
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _tensor(name: str, value: Array) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)


def _sorted(nodes: list[NodeProto], known: set[str]) -> Iterator[NodeProto]:
    """Nodes in an order that respects data flow and otherwise stays as it was."""
    waiting = nodes
    while waiting:
        later = []
        for node in waiting:
            if all(name in known for name in node.input):
                known.update(node.output)
                yield node
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise BadInputError(f"the ONNX graph has a cycle or a missing input at {later[0].name!r}")
        waiting = later
