"""The table of ops. A rule says how one ONNX op becomes TFLite ops, in which layout, and when in int8."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from edgekd.backends.tflite.graph import Graph, Node

if TYPE_CHECKING:
    from edgekd.backends.tflite.writer import Writer


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
    refuses_int8: Callable[[Node, Graph], str | None]
    fuses: bool
    keeps_scale: bool


RULES: dict[str, Rule] = {}


def rule(
    *ops: str,
    layout: Layout | Callable[[Node, Graph], Layout],
    operands: int | None = 1,
    refuses_int8: Callable[[Node, Graph], str | None] = lambda node, graph: None,
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
