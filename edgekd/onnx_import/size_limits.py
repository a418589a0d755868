"""A parsed ONNX file, checked before anything infers from it: what its own numbers make too large is refused."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import onnx
from onnx import numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, label

NODES = 200_000
DEPTH = 8  # of graphs within graphs
RANK = 16
ELEMENTS = 2**28  # of one tensor that a constant asks for: a gigabyte of float32
FACTOR = 2**16  # by which a constant may enlarge a tensor
PADDING = 2**12  # elements on one side
WINDOWS = frozenset({"kernel_shape", "strides", "dilations", "pads", "output_padding"})
LOOPS = frozenset({"Loop", "Scan"})


def require_within_limits(model: onnx.ModelProto) -> None:
    """Raise BadInputError, naming the node or tensor, for a model that asks for more than a deployed one can need."""
    known: dict[str, Array] = {}
    nodes = 0
    for graph, depth in _graphs(model):
        nodes += len(graph.node)
        if depth > DEPTH or nodes > NODES:
            raise BadInputError(f"it has more than {NODES:,} nodes, or graphs within graphs more than {DEPTH} deep")
        if isinstance(graph, onnx.GraphProto):
            for tensor in graph.initializer:
                _require_tensor(tensor)
                _note(known, tensor.name, tensor)
            for value in (*graph.input, *graph.output, *graph.value_info):
                _require_declared(value)
        for node in graph.node:
            _require_node(node, known)


def _graphs(model: onnx.ModelProto) -> Iterator[tuple[onnx.GraphProto | onnx.FunctionProto, int]]:
    waiting: list[tuple[onnx.GraphProto | onnx.FunctionProto, int]] = [(model.graph, 0)]
    waiting += [(function, 0) for function in model.functions]
    while waiting:
        graph, depth = waiting.pop()
        yield graph, depth
        for attribute in (entry for node in graph.node for entry in node.attribute):
            inner = [attribute.g] if attribute.HasField("g") else []
            waiting += [(found, depth + 1) for found in (*inner, *attribute.graphs)]


def _require_tensor(tensor: onnx.TensorProto) -> None:
    sizes = list(tensor.dims)
    if len(sizes) > RANK or any(size < 0 for size in sizes) or math.prod(sizes) > 2**31:
        raise BadInputError(f"tensor {tensor.name!r} has the shape {_shown(sizes)}")


def _require_declared(value: onnx.ValueInfoProto) -> None:
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if len(sizes) > RANK or math.prod(max(size, 1) for size in sizes) > ELEMENTS * 8:
        raise BadInputError(f"{value.name!r} is declared with the shape {_shown(sizes)}")


def _note(known: dict[str, Array], name: str, tensor: onnx.TensorProto) -> None:
    """Remember small constants, which say how large other tensors become."""
    if len(tensor.dims) < 2 and math.prod(tensor.dims) <= 2 * RANK and tensor.data_location == onnx.TensorProto.DEFAULT:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind in "iuf":
            known[name] = value.astype(np.float64).reshape(-1)


def _require_node(node: onnx.NodeProto, known: dict[str, Array]) -> None:
    if node.op_type in LOOPS:
        advice = "export it for a fixed number of steps"
        raise BadInputError(f"{node.op_type} {label(node)!r}: models with control flow are not supported: {advice}")
    for entry in node.attribute:
        if entry.name in WINDOWS and max(map(abs, entry.ints), default=0) > FACTOR:
            raise BadInputError(f"{node.op_type} {label(node)!r} has {entry.name} of {_shown(list(entry.ints))}")
        if entry.HasField("t"):
            _require_tensor(entry.t)
            if node.op_type == "Constant" and node.output:
                _note(known, node.output[0], entry.t)
    operands = [known.get(name) for name in node.input]
    asked = _SIZES.get(node.op_type)
    found = asked(operands) if asked else None
    if found is not None and not found[0] <= found[1]:
        raise BadInputError(f"{node.op_type} {label(node)!r} asks for {found[0]:.3g} {found[2]}")


Asked = tuple[float, int, str] | None
Operands = list[Array | None]


def _elements(operands: Operands, index: int) -> Asked:
    sizes = operands[index] if index < len(operands) else None
    return None if sizes is None else (_product(sizes), ELEMENTS, "elements")


def _times(operands: Operands, index: int) -> Asked:
    factors = operands[index] if index < len(operands) else None
    return None if factors is None else (_product(factors), FACTOR, "times its operand")


def _range(operands: Operands) -> Asked:
    bounds = [value for value in operands if value is not None and value.size == 1]
    if len(bounds) != 3:
        return None
    start, limit, delta = (float(value[0]) for value in bounds)
    return (abs((limit - start) / delta) if delta else math.inf, ELEMENTS, "elements")


def _pad(operands: Operands) -> Asked:
    pads = operands[1] if len(operands) > 1 else None
    return None if pads is None else (float(np.abs(pads).max(initial=0)), PADDING, "elements on a side")


def _resize(operands: Operands) -> Asked:
    return _times(operands, 2) or _elements(operands, 3)


def _product(values: Iterable[float]) -> float:
    return math.prod(max(abs(float(value)), 1.0) for value in values)


def _shown(sizes: list[int]) -> str:
    return f"({', '.join(map(str, sizes[:RANK]))}{', …' if len(sizes) > RANK else ''})"


_SIZES: dict[str, Callable[[Operands], Asked]] = {
    "Tile": partial(_times, index=1),
    "Upsample": partial(_times, index=1),
    "Expand": partial(_elements, index=1),
    "Reshape": partial(_elements, index=1),
    "OneHot": partial(_elements, index=1),
    "ConstantOfShape": partial(_elements, index=0),
    "Range": _range,
    "Pad": _pad,
    "Resize": _resize,
}
