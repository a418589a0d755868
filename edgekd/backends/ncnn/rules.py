"""The table of operations: how one ONNX operation becomes layers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from onnx import NodeProto

if TYPE_CHECKING:
    from edgekd.backends.ncnn.lowering import Lowering

Emit = Callable[["Lowering", NodeProto], None]
"""Appends layers and tells the lowering which blobs hold the node's outputs; raises BadInputError naming the node."""

RULES: dict[str, Emit] = {}


def rule(*operations: str) -> Callable[[Emit], Emit]:
    """Register the decorated function as the lowering of some operations."""

    def register(emit: Emit) -> Emit:
        RULES.update(dict.fromkeys(operations, emit))
        return emit

    return register
