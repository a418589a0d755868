"""An ONNX model as ncnn, which knows no batch, will see it: one sample, every shape a number."""

from typing import NoReturn

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.backends.shapes import opset, require_fixed_sizes, static_shapes
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph, attribute, check, inferred, label
from edgekd.quantization.fold import fold_batch_norms
from edgekd.quantization.functions import name_functions

OLDEST_OPSET, MOST_DIMENSIONS = 13, 4
Shape = tuple[int, ...]


class Source:
    """The graph, constants (what follows from one sample's shapes among them), and each tensor's shape as a blob.

    The blob of a tensor is the tensor at one sample without its batch axis, which is where two samples differ from one.
    Where an axis holds more than the batch, such as N·T rows, the blob has all axes. Raises BadInputError.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        if opset(model) < OLDEST_OPSET:
            raise BadInputError(f"ONNX opset {opset(model)} is too old: export with opset {OLDEST_OPSET} or later")
        check(model)
        require_fixed_sizes(model)
        plain = _plain(model)
        here, two = static_shapes(plain, 1), static_shapes(plain, 2)
        self.graph, self.values = Graph(plain), here.values
        self._full = {name: shape for name, (shape, _) in here.shapes.items()}
        self._batch = {
            name: axis
            for name, shape in self._full.items()
            if (axis := _moved(shape, two.shapes[name][0] if name in two.shapes else shape)) is not None
        }

    @property
    def nodes(self) -> list[NodeProto]:
        """The operations of one sample, in order."""
        return [node for node in self.graph.nodes if not all(edge in self.values for edge in node.output if edge)]

    def constant(self, edge: str) -> Array | None:
        """A constant's value, dequantised where it is stored in integers."""
        if edge in self.values:
            return self.values[edge]
        node = self.graph.producer(edge)
        stored = self.integers(edge)
        if node is None or stored is None:
            return None
        scale, zero_point = (self.operand(node, place) for place in (1, 2))
        if scale is None:
            refuse(node, "it has no scale")
        axis, real = attribute(node, "axis", 1), stored.astype(np.float32)
        if zero_point is not None:
            real -= _along(zero_point, stored.ndim, axis).astype(np.float32)
        return np.asarray(real * _along(scale, stored.ndim, axis), np.float32)

    def integers(self, edge: str) -> Array | None:
        """What is stored of a constant that a DequantizeLinear makes."""
        node = self.graph.producer(edge)
        return self.values.get(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else None

    def operand(self, node: NodeProto, place: int) -> Array | None:
        """The value of a constant operand; None where it is absent; refuses one that is computed."""
        if place >= len(node.input) or not node.input[place]:
            return None
        held = self.constant(node.input[place])
        if held is None:
            refuse(node, f"input {place} ({node.input[place]!r}) must be a constant")
        return held

    def integers_at(self, node: NodeProto, place: int) -> list[int] | None:
        """A constant operand as plain integers."""
        held = self.operand(node, place)
        return None if held is None else [int(value) for value in held.reshape(-1)]

    def number_at(self, node: NodeProto, place: int) -> float | None:
        """A constant operand that is one number."""
        held = self.operand(node, place)
        return None if held is None else float(held.reshape(()))

    def full(self, edge: str) -> Shape | None:
        """A tensor's shape in ONNX at one sample; None where it does not follow from the input's."""
        return self._full.get(edge)

    def batch(self, edge: str) -> int | None:
        """Which axis of a tensor its blob leaves out."""
        return self._batch.get(edge)

    def shape(self, node: NodeProto, edge: str) -> Shape:
        """A blob's shape, outermost first."""
        full = self._full.get(edge)
        if full is None:
            refuse(node, f"the shape of {edge!r} does not follow from the input's")
        batch = self.batch(edge)
        sizes = tuple(size for axis, size in enumerate(full) if axis != batch) or (1,)
        if len(sizes) > MOST_DIMENSIONS:
            refuse(node, f"{edge!r} has {len(sizes)} dimensions besides the batch, ncnn has at most {MOST_DIMENSIONS}")
        return sizes

    def axis(self, node: NodeProto, edge: str, axis: int) -> int:
        """An ONNX axis (negative ones count from the end) of a tensor in its blob."""
        full, batch = self._full.get(edge), self.batch(edge)
        if full is None:
            refuse(node, f"the shape of {edge!r} does not follow from the input's")
        axis %= len(full)
        if axis == batch:
            refuse(node, "it computes along the batch, which ncnn does not have")
        return axis - (batch is not None and axis > batch)


def refuse(node: NodeProto, reason: str) -> NoReturn:
    """Raise BadInputError naming a node and its operation."""
    raise BadInputError(f"node {label(node)!r} ({node.op_type}): {reason}")


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Any batch, no batch norm behind a layer, and functions in one word each."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    held = {tensor.name for tensor in free.graph.initializer}
    if any(value.type.tensor_type.shape.dim[0].dim_value for value in free.graph.input if value.name not in held):
        free.graph.ClearField("value_info")
        for value in (*free.graph.input, *free.graph.output):
            if value.name not in held:
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph = Graph(inferred(free))
    fold_batch_norms(graph)
    name_functions(graph)
    return graph.model()


def _moved(one: Shape, two: Shape) -> int | None:
    """The axis of size one that grows with the batch."""
    moved = [axis for axis, sizes in enumerate(zip(one, two, strict=True)) if sizes[0] != sizes[1]]
    return moved[0] if len(moved) == 1 and one[moved[0]] == 1 else None


def _along(value: Array, rank: int, axis: int) -> Array:
    """One number for each index of an axis, or one for all."""
    if value.size == 1:
        return value.reshape(())
    return value.reshape([-1 if place == axis % rank else 1 for place in range(rank)])
