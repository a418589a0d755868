"""The table of ops. A rule says how one ONNX op becomes TFLite ops, in which layout, and when in int8."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from edgekd.backends.tflite.graph import Graph, Node, Quantisation

if TYPE_CHECKING:
    from edgekd.backends.tflite.writer import Writer


Check = Callable[[Node, Graph], str | None]
"""Why the int8 kernel would not compute a node exactly; None if it does."""


class Layout(Enum):
    """What a rule asks of its rank-4 inputs."""

    SPATIAL = auto()
    """NHWC."""
    FOLLOW = auto()
    """Any, the same for all."""
    ORDERED = auto()
    """ONNX's own order of dimensions."""
    MEMORY = auto()
    """ONNX's own order of elements: NHWC will do for 1x1 maps and single channels."""


@dataclass(frozen=True)
class Rule:
    """How one op is lowered.

    Attributes:
        emit: appends TFLite ops.
        layout: what it asks of its inputs; may depend on the node.
        operands: how many leading inputs must be quantised for int8 (None: all); the others are parameters.
        refuses_int8: why the int8 kernel would not compute this node exactly; None if it does.
        fuses: takes RELU, RELU6 or RELU_N1_TO_1 as its own activation.
        keeps_scale: the int8 kernel's output has its input's quantisation.
    """

    emit: Callable[["Writer", Node], None]
    layout: Callable[[Node, Graph], Layout]
    operands: int | None
    refuses_int8: Check
    fuses: bool
    keeps_scale: bool


RULES: dict[str, Rule] = {}


def rule(
    *ops: str,
    layout: Layout | Callable[[Node, Graph], Layout],
    operands: int | None = 1,
    refuses_int8: Check = lambda node, graph: refuses_per_channel(node, graph),
    fuses: bool = False,
    keeps_scale: bool = False,
) -> Callable[[Callable[["Writer", Node], None]], Callable[["Writer", Node], None]]:
    """Register the decorated function as the lowering of `ops`."""
    choose = layout if callable(layout) else lambda node, graph: layout

    def register(emit: Callable[["Writer", Node], None]) -> Callable[["Writer", Node], None]:
        for op in ops:
            RULES[op] = Rule(emit, choose, operands, refuses_int8, fuses, keeps_scale)
        return emit

    return register


def refuses_per_channel(node: Node, graph: Graph) -> str | None:
    """int8 kernels other than those with weights take one scale per tensor."""
    for tensor in (graph.tensors[name] for name in node.inputs if name):
        if tensor.quantisation is not None and (tensor.dtype != np.int8 or tensor.quantisation.scale.size > 1):
            return f"input {tensor.name!r} is not int8 with one scale"
    return None


def output_is(scale: float, zero_point: int) -> Check:
    """An int8 kernel with one fixed output quantisation."""
    fixed = Quantisation(np.array([scale], np.float32), np.array([zero_point], np.int64))

    def check(node: Node, graph: Graph) -> str | None:
        if graph.tensors[node.output].quantisation == fixed:
            return None
        return f"TFLite's int8 kernel needs an output scale of {scale:g} and a zero point of {zero_point}"

    return check


def float_only(node: Node, graph: Graph) -> str:
    """No int8 kernel at all."""
    return f"TFLite has no int8 {node.op}"
