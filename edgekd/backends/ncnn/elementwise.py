"""Functions of one number or of two, in float."""

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from edgekd.backends.ncnn.format import Parameter, plain
from edgekd.backends.ncnn.lowering import Lowering
from edgekd.backends.ncnn.rules import rule
from edgekd.backends.ncnn.source import Shape, refuse
from edgekd.onnx_graph import Array, attribute, label

SCALAR = {1: 1}
BINARY = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Max": 4, "Min": 5, "Pow": 6}
REVERSED = BINARY | {"Sub": 7, "Div": 8, "Pow": 9}  # of a scalar and a tensor
UNARY = {
    "Abs": 0, "Neg": 1, "Floor": 2, "Ceil": 3, "Sqrt": 5, "Exp": 7, "Log": 8, "Sin": 9, "Cos": 10, "Reciprocal": 15,
    "Tanh": 16,
}  # fmt: skip
Settings = Callable[[NodeProto], dict[int, Parameter]]
FUNCTIONS: dict[str, tuple[str, Settings]] = {
    "Relu": ("ReLU", lambda node: {}),
    "LeakyRelu": ("ReLU", lambda node: {0: float(attribute(node, "alpha", 0.01))}),
    "Sigmoid": ("Sigmoid", lambda node: {}),
    "Erf": ("Erf", lambda node: {}),
    "Elu": ("ELU", lambda node: {0: float(attribute(node, "alpha", 1.0))}),
    "Gelu": ("GELU", lambda node: {0: int(attribute(node, "approximate", b"none") == b"tanh")}),
    "Softplus": ("Softplus", lambda node: {}),
    "Mish": ("Mish", lambda node: {}),
    "HardSwish": ("HardSwish", lambda node: {0: 1 / 6, 1: 0.5}),
    "HardSigmoid": (
        "HardSigmoid",
        lambda node: {0: float(attribute(node, "alpha", 0.2)), 1: float(attribute(node, "beta", 0.5))},
    ),
}


@rule(*FUNCTIONS)
def function(lowering: Lowering, node: NodeProto) -> None:
    """A layer of its own kind."""
    kind, settings = FUNCTIONS[node.op_type]
    lowering.set(node.output[0], lowering.layer(kind, [lowering.real(node)], label(node), settings(node)))


@rule(*UNARY)
def unary(lowering: Lowering, node: NodeProto) -> None:
    """A kind of UnaryOp."""
    parameters = {0: UNARY[node.op_type]}
    lowering.set(node.output[0], lowering.layer("UnaryOp", [lowering.real(node)], label(node), parameters))


@rule("Clip")
def clip(lowering: Lowering, node: NodeProto) -> None:
    """Clip, its missing bounds left out."""
    limits = (lowering.source.number_at(node, place) for place in (1, 2))
    parameters: dict[int, Parameter] = {key: limit for key, limit in enumerate(limits) if limit is not None}
    lowering.set(node.output[0], lowering.layer("Clip", [lowering.real(node)], label(node), parameters))


@rule("PRelu")
def parametric_relu(lowering: Lowering, node: NodeProto) -> None:
    """PReLU with a slope for all or one for each channel."""
    slope, shape = lowering.source.operand(node, 1), lowering.source.shape(node, node.input[0])
    if slope is None or (slope.size > 1 and slope.shape != (shape[0], *[1] * (len(shape) - 1))):
        refuse(node, "its slope is not one number, or one for each channel")
    content = plain(slope)
    lowering.set(node.output[0], lowering.layer("PReLU", [lowering.real(node)], label(node), {0: slope.size}, content))


@rule(*BINARY)
def binary(lowering: Lowering, node: NodeProto) -> None:
    """BinaryOp: with a scalar, or of two blobs with as many axes, of which those of size one are stretched."""
    if len(node.input) != 2:
        refuse(node, f"{len(node.input)} operands: the ncnn backend has two")
    held = [None if edge in lowering.values else lowering.source.constant(edge) for edge in node.input]
    scalar = next((place for place, value in enumerate(held) if value is not None and value.size == 1), None)
    if scalar is not None and held[1 - scalar] is None:
        kinds, number = (BINARY if scalar else REVERSED), held[scalar]
        assert number is not None
        parameters: dict[int, Parameter] = {0: kinds[node.op_type], **SCALAR, 2: float(number.reshape(()))}
        blobs = [lowering.real(node, 1 - scalar)]
    else:
        parameters = {0: BINARY[node.op_type]}
        blobs = [_stretched(lowering, node, place, value) for place, value in enumerate(held)]
    lowering.set(node.output[0], lowering.layer("BinaryOp", blobs, label(node), parameters))


def _stretched(lowering: Lowering, node: NodeProto, place: int, held: Array | None) -> str:
    """An operand with as many axes as the result has, by ONNX's rule: those that are missing are outer ones."""
    edge, result = node.input[place], node.output[0]
    source = lowering.source
    made, own = source.full(result), source.full(edge) if held is None else held.shape
    if made is None or own is None:
        refuse(node, f"the shape of {edge!r} does not follow from the input's")
    full: Shape = (1,) * (len(made) - len(own)) + tuple(own)
    batch = source.batch(result)
    if batch is not None and full[batch] != 1:
        refuse(node, f"{edge!r} differs along the batch, which ncnn does not have")
    shape = tuple(size for axis, size in enumerate(full) if axis != batch) or (1,)
    if held is not None:
        return lowering.constant(edge, np.asarray(held, np.float32), shape)
    return lowering.reshaped(lowering.real(node, place), source.shape(node, edge), shape, f"{edge}:stretched")
