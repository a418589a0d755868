"""What other quantisers write differently, said in edgekd's words without changing a number."""

from typing import Any

import numpy as np
from onnx import NodeProto
from onnx.helper import tensor_dtype_to_np_dtype

from edgekd.errors import BadInputError
from edgekd.onnx_graph import QUANTIZERS, Array, Graph, attribute, label
from edgekd.onnx_node import evaluate
from edgekd.quantization.graph_ir import WEIGHTED
from edgekd.quantization.scheme import Scheme

BYTES = frozenset({"int8", "uint8"})
FOLDED = frozenset({"QuantizeLinear", "Clip", "Identity", "Transpose", "Reshape"})
FLOAT_ORIGINAL = "export its float original with --calibration (edgekd export FLOAT.onnx --calibration X.npz)"


def make_explicit(graph: Graph) -> bool:
    """Give every quantiser the standard domain, and a zero point where none stands for 0; whether any lacked them."""
    changed = False
    for node in graph.nodes:
        if node.op_type in QUANTIZERS:
            _require_eight_bits(graph, node)
            changed |= bool(node.domain) | (len(node.input) < 3 or not node.input[2])
            node.domain = ""
            if len(node.input) < 3 or not node.input[2]:
                zero = np.zeros(graph.constants[node.input[1]].shape, _stored_type(graph, node))
                graph.set_inputs(node, [*node.input[:2], graph.add_constant(f"{label(node)}_zero_point", zero)])
    return changed


def _require_eight_bits(graph: Graph, node: NodeProto) -> None:
    scale, stored = graph.constant(node, 1), _stored_type(graph, node)
    allowed = BYTES if node.op_type == "QuantizeLinear" else BYTES | {"int32"}
    if scale is None or (len(node.input) > 2 and node.input[2] and graph.constant(node, 2) is None):
        raise BadInputError(f"{label(node)!r} finds its scale at run time, integer kernels cannot: {FLOAT_ORIGINAL}")
    if str(stored) not in allowed or attribute(node, "block_size", 0):
        kind = "blocks" if attribute(node, "block_size", 0) else str(stored)
        raise BadInputError(f"{label(node)!r} quantises to {kind}; the schemes have 8 bits: {FLOAT_ORIGINAL}")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise BadInputError(f"{label(node)!r} has a scale that is not a positive number: {FLOAT_ORIGINAL}")
    _require_shapes(graph, node)


def _require_shapes(graph: Graph, node: NodeProto) -> None:
    """One scale, or one for each channel of a constant."""
    scale, zero_point, stored = (graph.constant(node, index) for index in (1, 2, 0))
    assert scale is not None
    channels = {scale.size}
    if stored is not None and scale.size > 1:
        axis = attribute(node, "axis", 1)
        channels.add(stored.shape[axis] if -stored.ndim <= axis < stored.ndim else 0)
    if scale.ndim > 1 or len(channels) > 1 or (zero_point is not None and zero_point.size != scale.size):
        unlike = "scales and zero points that do not fit its channels"
        raise BadInputError(f"{label(node)!r} has {unlike}: {FLOAT_ORIGINAL}")


def _stored_type(graph: Graph, node: NodeProto) -> np.dtype[np.generic]:
    zero_point = graph.constant(node, 2)
    if zero_point is not None:
        return zero_point.dtype
    if node.op_type == "QuantizeLinear":
        return _onnx_type(attribute(node, "output_dtype", 0) or 2)
    if node.input[0] in graph.constants:
        return graph.constants[node.input[0]].dtype
    return _onnx_type(graph.types.get(node.input[0], 2))


def _onnx_type(kind: int) -> np.dtype[np.generic]:
    return np.dtype(tensor_dtype_to_np_dtype(kind))


def fold_stored_constants(graph: Graph) -> bool:
    """Evaluate quantisers of constants and what moves the integers on, as `Q → Clip` over weights."""
    changed = False
    for node in graph.nodes:
        operands = [name for name in node.input if name]
        if node.op_type in FOLDED and operands and all(name in graph.constants for name in operands):
            graph.constants |= evaluate(node, {name: graph.constants[name] for name in operands})
            graph.remove(node)
            changed = True
    return changed


def lift_integer_clips(graph: Graph) -> bool:
    """Move Clip and Relu on stored integers before their quantiser: both only grow, so rounding commutes with them."""
    changed = False
    for node in graph.nodes:
        quantize = graph.producer(node.input[0]) if node.op_type in {"Clip", "Relu"} else None
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        if graph.only_consumer(quantize.output[0]) is not node:
            raise BadInputError(f"{label(node)!r} clips integers that others read unclipped: {FLOAT_ORIGINAL}")
        _lift(graph, node, quantize)
        changed = True
    return changed


def _lift(graph: Graph, node: NodeProto, quantize: NodeProto) -> None:
    scale, zero_point = graph.constants[quantize.input[1]], graph.constants[quantize.input[2]]
    limits = np.iinfo(zero_point.dtype)
    low, high = _bounds(graph, node, limits)
    graph.remove(node)
    graph.set_output(quantize, 0, node.output[0])
    if (low, high) == (limits.min, limits.max):
        return
    values = [(np.float32(bound) - np.float32(zero_point)) * scale for bound in (low, high)]
    clipped = graph.fresh(f"{quantize.input[0]}_clipped")
    names = [graph.add_constant(f"{clipped}_bound", np.asarray(value, np.float32)) for value in values]
    graph.add("Clip", [quantize.input[0], *names], clipped)
    graph.set_input(quantize, 0, clipped)


def _bounds(graph: Graph, node: NodeProto, limits: np.iinfo[Any]) -> tuple[int, int]:
    if node.op_type == "Relu":
        return max(0, limits.min), limits.max
    found = [graph.constant(node, index) for index in (1, 2)]
    low = limits.min if found[0] is None else int(found[0].reshape(()))
    return low, limits.max if found[1] is None else int(found[1].reshape(()))


def shift_to(scheme: Scheme, graph: Graph) -> bool:
    """Store weights as int8 and activations as the scheme does: 128 off or on both the integers and the zero point."""
    changed = False
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            changed |= _shift_activation(graph, node, scheme)
        elif node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
            weight = any(_is_weight(reader, node.output[0]) for reader in graph.consumers(node.output[0]))
            changed |= _shift_constant(graph, node, "int8" if weight else scheme.activation)
    return changed


def _is_weight(reader: NodeProto, edge: str) -> bool:
    return reader.op_type in WEIGHTED and len(reader.input) > 1 and reader.input[1] == edge


def _shift_activation(graph: Graph, quantize: NodeProto, scheme: Scheme) -> bool:
    readers = graph.consumers(quantize.output[0])
    zero_point = graph.constants[quantize.input[2]]
    if zero_point.dtype == scheme.activation:
        return False
    if quantize.output[0] in graph.outputs or any(node.op_type != "DequantizeLinear" for node in readers):
        raise BadInputError(f"{label(quantize)!r} hands integers on that no DequantizeLinear reads: {FLOAT_ORIGINAL}")
    for node in (quantize, *readers):
        shifted = _shifted(graph.constants[node.input[2]], scheme.activation)
        graph.set_input(node, 2, graph.add_constant(f"{node.input[2]}_{scheme.activation}", shifted))
    return True


def _shift_constant(graph: Graph, node: NodeProto, dtype: str) -> bool:
    stored, zero_point = graph.constants[node.input[0]], graph.constants[node.input[2]]
    if str(stored.dtype) not in BYTES or stored.dtype == dtype:
        return False
    for index, value in ((0, stored), (2, zero_point)):
        graph.set_input(node, index, graph.add_constant(f"{node.input[index]}_{dtype}", _shifted(value, dtype)))
    return True


def _shifted(value: Array, dtype: str) -> Array:
    if value.dtype == dtype:
        return value
    return (value.astype(np.int16) + (-128 if dtype == "int8" else 128)).astype(dtype)


def require_symmetric_weights(graph: Graph) -> None:
    """Raise BadInputError, naming the layer, for weights with a zero point: no integer kernel here has one."""
    for node in graph.nodes:
        dequantize = graph.producer(node.input[1]) if node.op_type in WEIGHTED and len(node.input) > 1 else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or dequantize.input[0] not in graph.constants:
            continue
        if graph.constants[dequantize.input[2]].any():
            raise BadInputError(
                f"{node.op_type} {label(node)!r} has weights with a zero point: quantise them symmetrically "
                f"(in ONNX Runtime: WeightSymmetric=True), or {FLOAT_ORIGINAL}"
            )
