"""ONNX graphs, read and edited: who makes a tensor, who reads it, which ones are constants."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper, shape_inference

from edgekd.errors import BadInputError
from edgekd.onnx_weightless import without_weights
from edgekd.reading import reason

Array = NDArray[Any]
Shape = tuple[int | None, ...]

STANDARD = frozenset({"", "ai.onnx"})
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
INVALID = "not a valid ONNX model: "


class Graph:
    """A private copy of a model's main graph; `model()` closes it into a sorted model without what nothing reads.

    Constants are arrays by name, whether initialisers or Constant nodes held them; `types` and `shapes` are what the
    model declares. A node's operands and results are changed by the methods here only: they keep the look-ups right.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        self.constants = constants(self._model)
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self._values = _declared(self._model)
        self.types = {name: value.type.tensor_type.elem_type for name, value in self._values.items()}
        self.shapes = _shapes(self._values)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self._names = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
        self._numbered: dict[str, int] = {}  # the last number that `fresh` gave a name, or one less
        self._nodes: dict[int, NodeProto] = {}  # by identity: messages compare by value, and cannot be hashed
        self._producers: dict[str, NodeProto] = {}
        self._consumers: defaultdict[str, dict[int, NodeProto]] = defaultdict(dict)
        for node in graph.node:
            if node.op_type != "Constant" or node.output[0] not in self.constants:
                self._insert(node)

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes of this moment: a loop over them may edit the graph."""
        return list(self._nodes.values())

    def producer(self, edge: str) -> NodeProto | None:
        """The node that makes an edge."""
        return self._producers.get(edge)

    def consumers(self, edge: str) -> list[NodeProto]:
        """The nodes that read an edge."""
        return list(self._consumers[edge].values()) if edge in self._consumers else []

    def only_consumer(self, edge: str) -> NodeProto | None:
        """The one node that reads an edge which nothing else sees."""
        consumers = self.consumers(edge)
        return consumers[0] if len(consumers) == 1 and edge not in self.outputs else None

    def constant(self, node: NodeProto, index: int) -> Array | None:
        """The value of an operand, if there is one and it is constant."""
        return self.constants.get(node.input[index]) if index < len(node.input) else None

    def fresh(self, name: str) -> str:
        """`name`, or the first numbered variant that is not taken; it is taken afterwards."""
        unique, count = name, self._numbered.get(name, 0)
        while unique in self._names or unique in self.constants:
            count += 1
            unique = f"{name}_{count}"
        self._numbered[name] = max(count - 1, 0)
        self._names.add(unique)
        return unique

    def add_constant(self, name: str, value: Array) -> str:
        """Store a constant under a fresh name, which is returned."""
        unique = self.fresh(name)
        self.constants[unique] = value
        return unique

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
        """Append a node that makes `output`."""
        node = helper.make_node(kind, inputs, [output], name=self.fresh(f"{output}_{kind}"), **attributes)
        self._insert(node)
        return node

    def add_input(self, edge: str, like: str) -> None:
        """Let an edge enter the graph, declared as another one is."""
        self._declare(self._model.graph.input.add(), edge, like)
        self.inputs.append(edge)

    def add_output(self, edge: str, like: str, sizes: Sequence[int | None] | None = None) -> None:
        """Let an edge leave the graph, declared as another one is, or of its type and other sizes (None: free)."""
        value = self._model.graph.output.add()
        self._declare(value, edge, like)
        if sizes is not None:
            dims = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes]
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=dims))
        self.outputs.append(edge)

    def remove(self, node: NodeProto) -> None:
        """Take a node out; whoever reads what it made has to be given something else."""
        del self._nodes[id(node)]
        for edge in node.output:
            if self._producers.get(edge) is node:  # its heir may make the edge already
                del self._producers[edge]
        for edge in set(node.input):
            del self._consumers[edge][id(node)]

    def set_inputs(self, node: NodeProto, edges: Sequence[str]) -> None:
        """Replace all operands of a node."""
        for edge in set(node.input):
            del self._consumers[edge][id(node)]
        node.input[:] = edges
        for edge in edges:
            self._consumers[edge][id(node)] = node

    def set_input(self, node: NodeProto, index: int, edge: str) -> None:
        """Replace one operand of a node, or append the next one."""
        self.set_inputs(node, [*node.input[:index], edge, *node.input[index + 1 :]])

    def set_output(self, node: NodeProto, index: int, edge: str) -> None:
        """Let a node make another edge."""
        if self._producers.get(node.output[index]) is node:
            del self._producers[node.output[index]]
        node.output[index] = edge
        self._producers[edge] = node

    def reroute(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`."""
        for node in self.consumers(old):
            self.set_inputs(node, [new if edge == old else edge for edge in node.input])

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
            self.set_output(maker, list(maker.output).index(source), edge)
        self.remove(node)

    @property
    def opset(self) -> int:
        """Version of the standard operators; 0 where a model names none."""
        return next((entry.version for entry in self._model.opset_import if entry.domain in STANDARD), 0)

    def raise_opset(self, version: int) -> None:
        """Declare a later version of the standard operators; every node must mean the same in it."""
        for entry in self._model.opset_import:
            if entry.domain in STANDARD:
                entry.version = max(entry.version, version)

    def part(self, nodes: Sequence[NodeProto], outputs: Sequence[str]) -> onnx.ModelProto:
        """A model of its own: some nodes that take constants alone, and `outputs` of theirs without declared types."""
        part = onnx.ModelProto(ir_version=self._model.ir_version, opset_import=self._model.opset_import)
        read = dict.fromkeys(name for node in nodes for name in node.input if name in self.constants)
        part.graph.name = "part"
        part.graph.node.extend(nodes)
        part.graph.initializer.extend(_tensor(name, self.constants[name]) for name in read)
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return part

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

    def _declare(self, value: onnx.ValueInfoProto, edge: str, like: str) -> None:
        value.CopyFrom(self._values[like])
        value.name = edge

    def _insert(self, node: NodeProto) -> None:
        self._nodes[id(node)] = node
        self._producers.update((edge, node) for edge in node.output if edge)
        for edge in node.input:
            self._consumers[edge][id(node)] = node

    def _live(self) -> tuple[list[NodeProto], set[str]]:
        """The nodes that outputs depend on, and every name that is read."""
        used: set[str] = set()
        waiting = list(self.outputs)
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                waiting.extend(self._producers[name].input if name in self._producers else ())
        return [node for node in self.nodes if used & set(node.output)], used


class NodeWriter:
    """Adds nodes named after the one that they replace; arrays among the operands become constants."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.nodes: list[NodeProto] = []

    def __call__(self, kind: str, *operands: str | Array, into: str = "", **attributes: object) -> str:
        """Add a node and return the edge that it makes: a fresh one, or `into`."""
        names = [self._edge(operand) for operand in operands]
        output = into or self.graph.fresh(f"{self.name}_{kind}")
        self.nodes.append(self.graph.add(kind, names, output, **attributes))
        return output

    def _edge(self, operand: str | Array) -> str:
        return operand if isinstance(operand, str) else self.graph.add_constant(f"{self.name}_constant", operand)


def check(model: onnx.ModelProto, full: bool = False) -> None:
    """Raise BadInputError with onnx.checker's first line for an invalid model; `full` checks the shapes too."""
    with _one_line():
        onnx.checker.check_model(model, full_check=full)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put the nodes of a model's main graph in the order of data flow; raise BadInputError for a cycle or a gap."""
    graph = model.graph
    known = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    given = list(graph.node)
    nodes = list(_sorted(given, known))
    if any(node is not other for node, other in zip(nodes, given, strict=True)):  # large trees are copied for seconds
        del graph.node[:]
        graph.node.extend(nodes)


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that declares every shape which can be inferred; raise BadInputError where they contradict each other."""
    found = _inferred_without_weights(model)
    del found.graph.initializer[:]
    found.graph.initializer.extend(model.graph.initializer)
    return found


def shapes_of(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shapes that `inferred` would declare; errors as there."""
    return _shapes(_declared(_inferred_without_weights(model)))


def at_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A copy whose free batch is a number, and whose other shapes follow from it."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.ClearField("value_info")
    for value in fixed.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = batch
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Every number that a model's main graph holds, by name: initialisers, then Constant nodes."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    return found | {node.output[0]: value for node in nodes if (value := _value(node)) is not None}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or the operator's default."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Replace or add a node's attribute."""
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def label(node: NodeProto) -> str:
    """How a node is named in a message: its own name, else the tensor it makes."""
    return node.name or (node.output[0] if node.output else node.op_type)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (onnx.checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        raise BadInputError(f"{INVALID}{reason(error)}") from error


def _value(node: NodeProto) -> Array | None:
    """What a Constant node holds; None for strings and sparse tensors."""
    name, value = node.attribute[0].name, helper.get_attribute_value(node.attribute[0])
    if name == "value":
        return numpy_helper.to_array(value)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.asarray(value, kinds[name]) if name in kinds else None


def _inferred_without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    with _one_line():
        return shape_inference.infer_shapes(without_weights(model), strict_mode=True, data_prop=True)


def _declared(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    graph = model.graph
    return {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}


def _shapes(values: Mapping[str, onnx.ValueInfoProto]) -> dict[str, Shape]:
    return {name: shape for name, value in values.items() if (shape := _shape(value)) is not None}


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def _tensor(name: str, value: Array) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)


def _sorted(nodes: list[NodeProto], known: set[str]) -> Iterator[NodeProto]:
    """Nodes in an order that respects data flow and otherwise stays as it was: what comes too early waits a turn."""
    missing = [set(node.input) - known for node in nodes]
    readers = defaultdict(list)
    for position, edges in enumerate(missing):
        for edge in edges:
            readers[edge].append(position)
    ready = [(0, position) for position, edges in enumerate(missing) if not edges]
    while ready:
        turn, position = heappop(ready)
        yield nodes[position]
        for edge in nodes[position].output:
            for reader in readers.pop(edge, ()):
                missing[reader].remove(edge)
                if not missing[reader]:
                    heappush(ready, (turn + (reader < position), reader))
    stuck = [(node, edges) for node, edges in zip(nodes, missing, strict=True) if edges]
    if stuck:
        made = {edge for node in nodes for edge in node.output}
        for node, edges in stuck:
            if edges - made:
                raise BadInputError(f"{label(node)!r} reads {min(edges - made)!r}, which the ONNX graph does not have")
        raise BadInputError(f"the ONNX graph has a cycle through {label(stuck[0][0])!r}")
